"""Learned update rules, the agents they train, and one agent update.

What a training loop of one's own needs is here; `scripts/examples/train_with_rule.py` uses it.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

# Imported when asked for: commands look after signals and streams before they import JAX.
_HOMES = {
    "AgentOutputs": "lpg.heads",
    "Heads": "lpg.heads",
    "Hypers": "lpg.rule",
    "RuleInputs": "lpg.rule",
    "Trajectory": "lpg.trajectory",
    "UpdateRule": "lpg.rule",
    "action_log_prob": "lpg.heads",
    "load": "lpg.files.loading",
    "rule_inputs": "lpg.rule",
    "split_heads": "lpg.heads",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lpg' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, *globals()]
