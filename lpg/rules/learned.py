"""What learned rules share: fresh parameters, the header of a file, precision, checks."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ClassVar, Literal, TypeVar, get_args

import jax.numpy as jnp
from jaxtyping import Array

from lpg.choices import refuse_other
from lpg.heads import Heads
from lpg.network.lstm import SAVED
from lpg.platform import platform
from lpg.precision import Precision, is_narrow
from lpg.rule import RuleInputs, RuleParams

HeadActivation = Literal["relu", "none"]  # between the LSTM and its heads

Rule = TypeVar("Rule", bound="StoredArchitecture")


class StoredArchitecture:
    """Mixin of a learned rule: a frozen dataclass of plain JSON, with a `network` and `heads`."""

    kind: ClassVar[str]  # as the header and `metatrain --rule` name it
    results: ClassVar[tuple[str, ...]]  # the targets that an exported program returns
    network: Any  # the flax module from RuleInputs to what `targets` is made of
    heads: Callable[[int], Heads]

    head_activation: HeadActivation
    precision: Precision  # of the LSTM's activations and matmuls
    fused_lstm: bool
    kept_names: ClassVar[tuple[str, ...]] = (SAVED,)  # of the network: the LSTM's states
    # Fields that say how to compute a rule, or how to train it, and not what it is.
    not_stored: ClassVar[tuple[str, ...]] = ("precision", "fused_lstm")

    def refuse_unusable(self, *sizes: str) -> None:
        """Raise ValueError for sizes below 1, unknown choices and a kernel of another device."""
        for field in sizes:
            if (size := getattr(self, field)) < 1:
                raise ValueError(f"{type(self).__name__}'s {field} must be at least 1, got {size}.")
        for field, literal in (("head_activation", HeadActivation), ("precision", Precision)):
            refuse_other(field, getattr(self, field), get_args(literal))
        if self.fused_lstm and platform() != "tpu":
            raise ValueError(
                f"fused_lstm is a kernel for TPUs, and the platform here is {platform()!r}; "
                "leave it out."
            )

    def layout(self) -> dict[str, Any]:
        """The network's `head_activation`, `dtype` and `lstm`, by the platform at hand."""
        plain = {"cpu": "feature_major", "tpu": "scan"}.get(platform(), "rows")
        return {
            "head_activation": self.head_activation,
            "dtype": jnp.bfloat16 if is_narrow(self.precision) else None,
            "lstm": "fused" if self.fused_lstm else plain,
        }

    def init(self, key: Array) -> RuleParams:
        """Fresh eta, by one step of one row; no parameter depends on the number of actions."""
        heads, row = self.heads(1), jnp.zeros((1, 1))
        inputs = RuleInputs(
            reward=row,
            not_done=row,
            gamma=jnp.zeros((1,)),
            action_prob=row,
            prediction=jnp.zeros((2, 1, heads.prediction)),
            value=jnp.zeros((2, 1, heads.value)),
        )
        return self.network.init(key, inputs)["params"]

    def published(self: Rule) -> Rule:
        """The rule that a file holds: the same function by the paper's network."""
        return self

    def publish(self, rule_params: RuleParams) -> RuleParams:
        """The parameters with which `published()` computes what this rule does with these."""
        return rule_params

    def unpublish(self, rule_params: RuleParams) -> RuleParams:
        """The inverse of `publish`."""
        return rule_params

    def architecture(self) -> dict[str, Any]:
        """Plain JSON for a rule file's header; `from_architecture` reads it back."""
        fields = asdict(self)  # type: ignore[call-overload] - a dataclass
        for name in self.not_stored:
            del fields[name]
        return {"rule": self.kind, **fields}

    @classmethod
    def from_architecture(cls: type[Rule], architecture: dict[str, Any]) -> Rule:
        """Raises ValueError for another kind of rule, or fields that this version lacks."""
        fields = dict(architecture)
        if fields.pop("rule", None) != cls.kind:
            raise ValueError(
                f"This rule file holds a rule of kind {architecture.get('rule')!r}, not "
                f"{cls.kind!r}; load it with the class that wrote it."
            )
        try:
            return cls(**fields)
        except TypeError as error:
            raise ValueError(
                f"This rule file's architecture {architecture} is not one this version knows; "
                "use the version that wrote it."
            ) from error
