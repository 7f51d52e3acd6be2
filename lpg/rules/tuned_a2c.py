"""A2C with four metaparameters, as the study of meta-gradient bias tunes it.

Source: Liu et al. 2022, appendix I.3; spec/bias.md, section 8.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from lpg.heads import AgentOutputs, Heads, action_log_prob
from lpg.losses.estimators import Surrogate, refuse_surrogate
from lpg.losses.returns import lambda_returns
from lpg.rule import Hypers, RuleInputs, check_inputs
from lpg.rules.stac import ActorCriticTargets, actor_critic_loss, refuse_unknown
from lpg.trajectory import Trajectory

Number = Any  # a float or a scalar


class A2CMetaparameters(NamedTuple):
    """eta, each between 0 and 1."""

    gamma: Number = 0.99
    lam: Number = 0.95  # lambda of the returns
    value_cost: Number = 0.5  # of (G - V)^2
    entropy_cost: Number = 0.01


@dataclass(frozen=True)
class TunedA2C:
    """An `OnlineRule`; with nothing live it is the A2C that the tuned one is compared with."""

    told: ClassVar[tuple[str, ...]] = ("gamma",)

    live: tuple[str, ...] = A2CMetaparameters._fields
    surrogate: Surrogate = "lvc"  # of the inner policy gradient
    reference: A2CMetaparameters = A2CMetaparameters()

    def __post_init__(self) -> None:
        refuse_surrogate(self.surrogate)
        refuse_unknown(self.live, A2CMetaparameters._fields)

    @property
    def upper(self) -> A2CMetaparameters:
        """eta = sigmoid(raw)."""
        return A2CMetaparameters(1.0, 1.0, 1.0, 1.0)

    @property
    def initial(self) -> A2CMetaparameters:
        """The reference."""
        return self.reference

    @property
    def embedded(self) -> bool:
        """The critic is told gamma, where anything is tuned."""
        return bool(self.live)

    def init(self, key: Array) -> A2CMetaparameters:
        """The reference: what plain A2C lives by."""
        del key
        return self.reference

    def heads(self, num_actions: int) -> Heads:
        """Policy and value; the value alone is told gamma."""
        told = len(self.told) if self.embedded else 0
        return Heads(logits=num_actions, value=1, condition=told, value_alone_is_told=True)

    def targets(self, rule_params: A2CMetaparameters, inputs: RuleInputs) -> ActorCriticTargets:
        """Lambda-returns and GAE, semi-gradients where `inputs` are constants."""
        check_inputs(inputs, self.heads(1))
        eta, value = rule_params, inputs.value[..., 0]
        target = lambda_returns(inputs.reward, inputs.not_done * eta.gamma, value, eta.lam)
        costs = (eta.value_cost, 1.0, eta.entropy_cost)
        weights = (jnp.broadcast_to(jnp.asarray(x), target.shape) for x in costs)
        return ActorCriticTargets(target, target - value[:-1], *weights)

    def loss(
        self,
        outputs: AgentOutputs,
        trajectory: Trajectory,
        targets: ActorCriticTargets,
        hypers: Hypers,
    ) -> Float[Array, ""]:
        """-A w + value_cost (G - V)^2 - entropy_cost H(pi), averaged over T and B; w is log pi(a|s)
        as the surrogate has it."""
        del hypers
        loss = actor_critic_loss(outputs, trajectory, targets, self.surrogate)
        return loss / trajectory.reward.size

    def outer_loss(
        self,
        before: Float[Array, "T B A"],
        outputs: AgentOutputs,
        trajectory: Trajectory,
        inputs: RuleInputs,
        hypers: Hypers,
    ) -> Float[Array, ""]:
        """The policy gradient's alone, by the reference's gamma and lambda."""
        del before, hypers
        advantage = self.targets(self.reference, inputs).advantage
        return -jnp.mean(advantage * action_log_prob(outputs.logits[:-1], trajectory.action))
