"""STAC: an actor-critic on leaky V-trace that tunes its own metaparameters; IMPALA and MGRL as
special cases of it.

Source: Zahavy et al. 2020 (STAC), Xu et al. 2018 (MGRL), Espeholt et al. 2018 (IMPALA).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lpg.heads import AgentOutputs, Heads, action_log_prob, entropy
from lpg.losses.estimators import Surrogate, policy_weight, refuse_surrogate
from lpg.losses.vtrace import leaky_vtrace
from lpg.rule import Hypers, RuleInputs, check_inputs, check_loss
from lpg.trajectory import Trajectory

Number = Any  # a float, a scalar, or an array [n] with one number a head


class Metaparameters(NamedTuple):
    """eta, in its units; of many heads one number each."""

    gamma: Number = 0.995  # discount factor
    lam: Number = 1.0  # lambda of the returns
    value_cost: Number = 0.25  # g_v, of (v - V)^2
    policy_cost: Number = 1.0  # g_p
    entropy_cost: Number = 0.01  # g_e
    alpha: Number = 1.0  # leaky V-trace's alpha_rho, and alpha_c where that is None
    alpha_c: Number = None
    clip: Number = 1.0  # rho-bar and c-bar


ALL = ("gamma", "lam", "value_cost", "policy_cost", "entropy_cost", "alpha")


class ActorCriticTargets(NamedTuple):
    """What one head's outputs should become, and how much each part of its loss weighs."""

    value_target: Float[Array, "T B"]
    advantage: Float[Array, "T B"]
    value_cost: Float[Array, "T B"]
    policy_cost: Float[Array, "T B"]
    entropy_cost: Float[Array, "T B"]


class OuterCosts(NamedTuple):
    """Weights of the outer loss; its gamma, lambda and alpha are the reference's."""

    value: float = 0.25
    policy: float = 1.0
    entropy: float = 0.01
    kl: float = 1.0  # of KL(pi' || pi), which keeps one update from going too far


POLICY_ONLY = OuterCosts(value=0.0, policy=1.0, entropy=0.0, kl=0.0)  # MGRL's


@dataclass(frozen=True)
class STAC:
    """eta = {gamma, lambda, g_v, g_p, g_e, alpha}, or those of them that are `live`."""

    live: tuple[str, ...] = ALL
    reference: Metaparameters = Metaparameters()
    outer: OuterCosts = OuterCosts()
    start: float = 0.99  # eta at birth as a share of its upper bound, all but gamma
    start_gamma: float | None = None  # gamma at birth; the reference's where None
    embedded: bool = False  # the network is told eta (Xu et al. 2018, "eta-embedding")
    hidden: tuple[int, ...] = ()  # layers of the head's own
    surrogate: Surrogate = "autodiff"  # of the inner policy gradient

    def __post_init__(self) -> None:
        refuse_surrogate(self.surrogate)
        refuse_unknown(self.live, Metaparameters._fields)

    @property
    def upper(self) -> Metaparameters:
        """Rates cannot exceed 1, weights not their outer values, the clip not 2."""
        reference = self.reference
        weights = (reference.value_cost, reference.policy_cost, reference.entropy_cost)
        return Metaparameters(1.0, 1.0, *weights, 1.0, 1.0, 2.0)

    @property
    def initial(self) -> Metaparameters:
        """`start` of the way to the upper bound, gamma at its reference, the clip at 1."""
        gamma = self.reference.gamma if self.start_gamma is None else self.start_gamma
        near = Metaparameters(*(self.start * x for x in self.upper))
        return near._replace(gamma=gamma, clip=1.0)

    def init(self, key: Array) -> Metaparameters:
        """The reference: what a frozen agent, IMPALA, lives by."""
        del key
        return self.reference

    def heads(self, num_actions: int) -> Heads:
        """Policy and value."""
        condition = len(self.live) if self.embedded else 0
        return Heads(logits=num_actions, value=1, hidden=self.hidden, condition=condition)

    def targets(self, rule_params: Metaparameters, inputs: RuleInputs) -> ActorCriticTargets:
        """Leaky V-trace's, semi-gradients where `inputs` are constants."""
        check_inputs(inputs, self.heads(1))
        return head_targets(rule_params, inputs, 0)

    def loss(
        self,
        outputs: AgentOutputs,
        trajectory: Trajectory,
        targets: ActorCriticTargets,
        hypers: Hypers,
    ) -> Float[Array, ""]:
        """Summed over T and B, as IMPALA's clip and learning rate presume."""
        del hypers
        return actor_critic_loss(outputs, trajectory, targets, self.surrogate)

    def outer_loss(
        self,
        before: Float[Array, "T B A"],
        outputs: AgentOutputs,
        trajectory: Trajectory,
        inputs: RuleInputs,
        hypers: Hypers,
    ) -> Float[Array, ""]:
        """The same loss at the reference, and KL(pi' || pi)."""
        del hypers
        reference = outer_reference(self.reference, self.outer)
        targets = head_targets(reference, inputs, 0)
        loss = actor_critic_loss(outputs, trajectory, targets)
        return loss + self.outer.kl * kl_from(before, outputs.logits[:-1])


def refuse_unknown(live: tuple[str, ...], known: tuple[str, ...]) -> None:
    """ValueError for the first live metaparameter that there is not."""
    unknown = [name for name in live if name not in known]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no metaparameter; known are {', '.join(known)}.")


def head_targets(eta: Metaparameters, inputs: RuleInputs, head: int) -> ActorCriticTargets:
    """Targets of the head at index `head` among those of `inputs`."""
    assert inputs.log_ratio is not None, "off-policy rules read `off_policy_inputs`"
    vtrace = leaky_vtrace(
        inputs.reward,
        inputs.not_done * eta.gamma,
        inputs.value[..., head],
        inputs.log_ratio[..., head],
        eta.lam,
        eta.alpha,
        eta.alpha_c,
        eta.clip,
        eta.clip,
    )
    weights = (eta.value_cost, eta.policy_cost, eta.entropy_cost)
    shape = inputs.reward.shape
    return ActorCriticTargets(*vtrace, *(jnp.broadcast_to(jnp.asarray(w), shape) for w in weights))


def actor_critic_loss(
    outputs: AgentOutputs,
    trajectory: Trajectory,
    targets: ActorCriticTargets,
    surrogate: Surrogate = "autodiff",
) -> Float[Array, ""]:
    """sum g_v (v - V)^2 - g_p A log pi(a|s) - g_e H(pi) of one head; for log pi the surrogate's
    weight."""
    check_loss(outputs, trajectory, targets, Heads(logits=1, value=1))
    logits, value = outputs.logits[:-1], outputs.value[:-1, ..., 0]
    log_prob = action_log_prob(logits, trajectory.action)
    weight = policy_weight(surrogate, log_prob, trajectory.done)
    return jnp.sum(
        targets.value_cost * (targets.value_target - value) ** 2
        - targets.policy_cost * targets.advantage * weight
        - targets.entropy_cost * entropy(logits)
    )


def kl_from(before: Float[Array, "T B A"], logits: Float[Array, "T B A"]) -> Float[Array, ""]:
    """sum KL(pi' || pi): `logits` are of the new policy, `before` log-probabilities of the old."""
    after = jax.nn.log_softmax(logits)
    return jnp.sum(jnp.exp(after) * (after - before))


def outer_reference(reference: Metaparameters, outer: OuterCosts) -> Metaparameters:
    """What the outer loss's targets are made by."""
    return reference._replace(
        value_cost=outer.value, policy_cost=outer.policy, entropy_cost=outer.entropy
    )


def impala(gamma: float = 0.995) -> STAC:
    """Nothing is live; for `FrozenRule` (Espeholt et al. 2018)."""
    return STAC(live=(), reference=Metaparameters(gamma=gamma))


def mgrl(live: tuple[str, ...] = ("gamma", "lam"), embedded: bool = True) -> STAC:
    """The outer loss is the policy gradient's alone (Xu et al. 2018)."""
    return STAC(live=live, outer=POLICY_ONLY, embedded=embedded)
