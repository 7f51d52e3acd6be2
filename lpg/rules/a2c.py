"""Advantage actor-critic (A2C) as an `UpdateRule` that has nothing to learn.

Source: Mnih et al. 2016; the baseline of Oh et al. 2020, section 4.1.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from lpg.heads import AgentOutputs, Heads, action_log_prob, entropy
from lpg.losses.returns import bootstrapped, lambda_returns
from lpg.rule import Hypers, RuleInputs, RuleParams, check_inputs, check_loss
from lpg.trajectory import Trajectory


class A2CTargets(NamedTuple):
    """Of each step: the taken action's GAE, and the lambda-return that V should move to."""

    advantage: Float[Array, "T B"]
    value_target: Float[Array, "T B"]


@dataclass(frozen=True)
class A2C:
    """eta is empty. `hypers.prediction_cost` weights the loss of V, an actor-critic's prediction
    (0.5 is the published weight)."""

    bootstraps: ClassVar[bool] = True

    lam: float = 0.95  # lambda of GAE
    entropy_cost: float = 0.01

    def __post_init__(self) -> None:
        if not 0.0 <= self.lam <= 1.0:
            raise ValueError(f"A2C's lam must lie in [0, 1], got {self.lam}.")

    def init(self, key: Array) -> RuleParams:
        """The empty eta, whatever the key."""
        del key
        return ()

    def heads(self, num_actions: int) -> Heads:
        """One logit an action, and a value."""
        return Heads(logits=num_actions, value=1)

    def targets(self, rule_params: RuleParams, inputs: RuleInputs) -> A2CTargets:
        """Lambda-returns that go on beyond time limits, and GAE as what they exceed V by (Schulman
        et al. 2016, Eq. 16)."""
        del rule_params
        check_inputs(inputs, self.heads(1))
        value = inputs.value[..., 0]
        discount = inputs.not_done * inputs.gamma[None, :]
        reward = bootstrapped(inputs.reward, inputs.final_value, inputs.gamma)
        value_target = lambda_returns(reward, discount, value, self.lam)
        return A2CTargets(advantage=value_target - value[:-1], value_target=value_target)

    def loss(
        self, outputs: AgentOutputs, trajectory: Trajectory, targets: A2CTargets, hypers: Hypers
    ) -> Float[Array, ""]:
        """-log pi(a|s) A + alpha_y (G - V)^2 / 2 - entropy_cost H(pi), averaged over T and B."""
        check_loss(outputs, trajectory, targets, self.heads(1))
        log_prob = action_log_prob(outputs.logits[:-1], trajectory.action)
        value_error = targets.value_target - outputs.value[:-1, ..., 0]
        return jnp.mean(
            -log_prob * targets.advantage
            + hypers.prediction_cost * 0.5 * value_error**2
            - self.entropy_cost * entropy(outputs.logits[:-1])
        )
