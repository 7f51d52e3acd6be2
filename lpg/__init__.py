"""Learned update rules, the agents they train, and one agent update.

What a training loop of one's own needs is here; `scripts/examples/train_with_rule.py` uses it.
"""

from importlib.metadata import PackageNotFoundError, version

from lpg.files.loading import load
from lpg.heads import AgentOutputs, Heads, action_log_prob, split_heads
from lpg.rule import Hypers, RuleInputs, UpdateRule, rule_inputs
from lpg.trajectory import Trajectory

try:
    __version__ = version("lpg-engine")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "unknown"

__all__ = [
    "__version__",
    "AgentOutputs",
    "Heads",
    "Hypers",
    "RuleInputs",
    "Trajectory",
    "UpdateRule",
    "action_log_prob",
    "load",
    "rule_inputs",
    "split_heads",
]
