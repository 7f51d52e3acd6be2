"""The training environments of Learned Policy Gradient, as gymnax environments."""

from envs.suite import SUITE, make, stack

__all__ = ["SUITE", "make", "stack"]
