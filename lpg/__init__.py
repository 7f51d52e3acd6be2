"""Learned update rules, the agents they train, and one agent update."""
