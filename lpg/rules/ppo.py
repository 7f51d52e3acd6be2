"""Proximal policy optimisation (PPO) as an `UpdateRule` that has nothing to learn.

Source: Schulman et al. 2017. Several steps on one trajectory are `lpg.epochs`' business.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from lpg.heads import AgentOutputs, action_log_prob, entropy
from lpg.rule import Hypers, check_loss
from lpg.rules.a2c import A2C, A2CTargets
from lpg.trajectory import Trajectory


@dataclass(frozen=True)
class PPO(A2C):
    """A2C's targets, and a loss that is to be followed for several steps. `hypers.prediction_cost`
    weights the loss of V."""

    clip: float = 0.2  # how far from 1 the policies' ratio is still followed

    def __post_init__(self) -> None:
        if not 0.0 <= self.lam <= 1.0 or not self.clip > 0:
            raise ValueError(
                f"PPO's lam must lie in [0, 1] and clip be positive, got {self.lam}, {self.clip}."
            )

    def loss(
        self, outputs: AgentOutputs, trajectory: Trajectory, targets: A2CTargets, hypers: Hypers
    ) -> Float[Array, ""]:
        """-min(r A, clip(r) A) + alpha_y (G - V)^2 / 2 - entropy_cost H(pi), averaged over T and B;
        r is pi over the policy that acted, A normalised over the batch (Eqs. 7 and 9)."""
        check_loss(outputs, trajectory, targets, self.heads(1))
        log_prob = action_log_prob(outputs.logits[:-1], trajectory.action)
        ratio = jnp.exp(log_prob - trajectory.behaviour_log_prob)
        advantage = targets.advantage - jnp.mean(targets.advantage)
        advantage = advantage / (jnp.std(advantage) + 1e-8)
        followed = jnp.clip(ratio, 1.0 - self.clip, 1.0 + self.clip)
        value_error = targets.value_target - outputs.value[:-1, ..., 0]
        return jnp.mean(
            -jnp.minimum(ratio * advantage, followed * advantage)
            + hypers.prediction_cost * 0.5 * value_error**2
            - self.entropy_cost * entropy(outputs.logits[:-1])
        )
