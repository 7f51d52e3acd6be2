"""Learned update rules, the agents they train, and one agent update.

What a training loop of one's own needs is here; `scripts/examples/train_with_rule.py` uses it.
"""

from envs.trajectory import Trajectory
from lpg.agents import split_heads
from lpg.loading import load
from lpg.rule import AgentOutputs, Heads, Hypers, RuleInputs, UpdateRule, rule_inputs

__all__ = [
    "AgentOutputs",
    "Heads",
    "Hypers",
    "RuleInputs",
    "Trajectory",
    "UpdateRule",
    "load",
    "rule_inputs",
    "split_heads",
]
