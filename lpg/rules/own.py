"""An update rule of the user's own, by import path, with what meta-training and rule files need.

The user writes the four methods of `lpg.rule.UpdateRule` and no more.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
from jaxtyping import Array, Float

from lpg.heads import AgentOutputs, Heads
from lpg.own import imported, is_import_path
from lpg.rule import (
    Hypers,
    RuleInputs,
    RuleParams,
    Targets,
    UpdateRule,
    bootstraps,
    kept_names,
    penalties,
)
from lpg.trajectory import Trajectory

METHODS = ("init", "heads", "targets", "loss")


@dataclass(frozen=True)
class OwnRule:
    """The rule at `kind`, package.module:Name, a class that is built without arguments.

    A rule file's header holds this path, so that loading one imports the module it names: take such
    files only from people whose code you would run. eta may be any tree of float32 arrays; in a
    file it is a dictionary by their paths.
    """

    kind: str

    def __post_init__(self) -> None:
        if not is_import_path(self.kind):
            raise ValueError(f"{self.kind!r} is no package.module:Name of a rule of your own.")
        _ = self.rule

    @cached_property
    def rule(self) -> UpdateRule:
        """An instance of the user's class; ValueError where it cannot be had or lacks a method."""
        needed = "a class with the methods of lpg.rule.UpdateRule that is built without arguments"
        return imported(self.kind, "a rule", needed, methods=METHODS)

    @property
    def bootstraps(self) -> bool:
        """As the rule says."""
        return bootstraps(self.rule)

    @property
    def push(self) -> str | None:
        """As the rule says."""
        return getattr(self.rule, "push", None)

    @property
    def kept_names(self) -> tuple[str, ...]:
        """As the rule says."""
        return kept_names(self.rule)

    @property
    def precision(self) -> str:
        """As the rule says, else float32."""
        return getattr(self.rule, "precision", "float32")

    def penalties(self, targets: Targets) -> dict[str, Float[Array, "*L T B"]]:
        """As the rule says."""
        return penalties(self.rule, targets)

    def init(self, key: Array) -> RuleParams:
        """The rule's own."""
        return self.rule.init(key)

    def heads(self, num_actions: int) -> Heads:
        """The rule's own."""
        return self.rule.heads(num_actions)

    def targets(self, rule_params: RuleParams, inputs: RuleInputs) -> Targets:
        """The rule's own."""
        return self.rule.targets(rule_params, inputs)

    def loss(
        self, outputs: AgentOutputs, trajectory: Trajectory, targets: Targets, hypers: Hypers
    ) -> Float[Array, ""]:
        """The rule's own."""
        return self.rule.loss(outputs, trajectory, targets, hypers)

    def published(self) -> "OwnRule":
        """Itself: what a file holds is what was meta-trained."""
        return self

    def publish(self, rule_params: RuleParams) -> dict[str, Any]:
        """eta as nested dictionaries, by the paths of its leaves."""
        nested: dict[str, Any] = {}
        for path, leaf in jax.tree.leaves_with_path(rule_params):
            *parents, last = _steps(path)
            node = nested
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = leaf
        return nested

    def unpublish(self, rule_params: dict[str, Any]) -> RuleParams:
        """The inverse of `publish`, for an eta of this rule's own form."""

        def pick(path: Any, _: Any) -> Any:
            node = rule_params
            for step in _steps(path):
                node = node[step]
            return node

        like = jax.eval_shape(self.init, jax.random.key(0))
        return jax.tree_util.tree_map_with_path(pick, like)

    def architecture(self) -> dict[str, Any]:
        """The import path alone."""
        return {"rule": self.kind}


def _steps(path: Any) -> list[str]:
    """The keys that lead to a leaf; dots would part names in a file."""
    names = (jax.tree_util.keystr((step,), simple=True) for step in path)
    return [name.replace(".", "_") for name in names] or ["eta"]
