"""STACX: STAC with auxiliary heads on the same torso, each with metaparameters of its own.

Source: Zahavy et al. 2020, section 3.2.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from lpg.heads import AgentOutputs, Heads
from lpg.rule import Hypers, RuleInputs, check_inputs
from lpg.rules.stac import (
    STAC,
    ActorCriticTargets,
    Metaparameters,
    actor_critic_loss,
    head_targets,
)
from lpg.trajectory import Trajectory


@dataclass(frozen=True)
class STACX(STAC):
    """eta is one `Metaparameters` a head, as arrays [n]; the first head acts and is what the outer
    loss sees, the others teach the torso."""

    hidden: tuple[int, ...] = (0, 0)  # as wide as the torso's features: 256 of the ResNet's
    num_heads: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_heads < 1:
            raise ValueError(f"STACX needs at least 1 head, got {self.num_heads}.")

    @property
    def initial(self) -> Metaparameters:
        """The same for all heads."""
        each = super().initial
        return Metaparameters(*(jnp.full(self.num_heads, x) for x in each))

    def heads(self, num_actions: int) -> Heads:
        """One MLP with policy and value a head."""
        condition = len(self.live) * self.num_heads if self.embedded else 0
        head = Heads(logits=num_actions, value=1, hidden=self.hidden)
        return head._replace(auxiliary=(head,) * (self.num_heads - 1), condition=condition)

    def targets(
        self, rule_params: Metaparameters, inputs: RuleInputs
    ) -> tuple[ActorCriticTargets, ...]:
        """One head after the other, each by its own ratio to the policy that acted."""
        check_inputs(inputs, self.heads(1))
        heads = range(self.num_heads)
        return tuple(head_targets(of_head(rule_params, i), inputs, i) for i in heads)

    def loss(
        self,
        outputs: AgentOutputs,
        trajectory: Trajectory,
        targets: tuple[ActorCriticTargets, ...],
        hypers: Hypers,
    ) -> Float[Array, ""]:
        """The sum over heads."""
        del hypers
        pairs = zip(outputs.heads, targets, strict=True)
        losses = (actor_critic_loss(head, trajectory, x, self.surrogate) for head, x in pairs)
        return jnp.asarray(sum(losses))


def of_head(eta: Metaparameters, head: int) -> Metaparameters:
    """The head's own numbers; what all heads share as it is."""

    def own(x: Any) -> Any:
        return x[head] if jnp.ndim(x) else x

    return Metaparameters(*(None if x is None else own(x) for x in eta))
