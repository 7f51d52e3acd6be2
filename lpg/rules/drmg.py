"""DrMG: a critic of quantiles, each with metaparameters of its own, tuned by meta-gradients.

Frozen at its reference it is QR, a distributional IMPALA. Equations as `Distributional
meta-gradients` (2022) has them, mended where they contradict each other.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lpg.heads import AgentOutputs, Heads, action_log_prob, entropy
from lpg.losses.quantile import quantile_loss
from lpg.losses.returns import n_step_returns
from lpg.losses.vtrace import leaky_vtrace
from lpg.rule import Hypers, RuleInputs, check_inputs, check_loss
from lpg.rules.stac import kl_from, refuse_unknown
from lpg.trajectory import Trajectory


class QuantileMetaparameters(NamedTuple):
    """eta, in its units; N numbers, one a quantile, or one for all."""

    gamma: Any = 0.995
    lam: Any = 1.0
    quantile_cost: Any = 1.0 / 32  # w_Z
    policy_cost: Any = 1.0  # w_pi
    entropy_cost: Any = 0.01  # w_H
    alpha: Any = 1.0


BY_QUANTILE = ("gamma", "lam", "quantile_cost")
ALL = (*BY_QUANTILE, "policy_cost", "entropy_cost", "alpha")


class QuantileTargets(NamedTuple):
    """What quantiles and policy should become, and how much each part of the loss weighs."""

    returns: Float[Array, "T B N"]  # Gamma_q
    advantage: Float[Array, "T B"]
    quantile_cost: Float[Array, "T B N"]
    policy_cost: Float[Array, "T B"]
    entropy_cost: Float[Array, "T B"]


@dataclass(frozen=True)
class DrMG:
    """eta = {gamma_q, lambda_q, w_Zq} of each quantile and {w_pi, w_H, alpha}, or the `live`."""

    live: tuple[str, ...] = ALL
    num_quantiles: int = 32
    kappa: float = 1.0  # of the Huber loss
    gamma: float = 0.995  # of the reference
    shared: bool = False  # one gamma, lambda and w_Z for all quantiles
    num_steps: int | None = None  # n of n-step returns without correction, in place of V-trace
    vtrace_advantage: bool = False  # weighed by rho once, with lambda, in place of the printed one
    kl_cost: float = 0.0  # of KL(pi' || pi) in the outer loss
    start: float = 0.99

    embedded = False

    def __post_init__(self) -> None:
        refuse_unknown(self.live, ALL)
        if self.num_steps is not None and {"lam", "alpha"} & set(self.live):
            raise ValueError("n-step returns have no lambda and no alpha; take them out of live.")
        if self.num_quantiles < 1:
            raise ValueError(f"DrMG needs at least 1 quantile, got {self.num_quantiles}.")

    @property
    def reference(self) -> QuantileMetaparameters:
        """The outer loss's, and QR's."""
        return QuantileMetaparameters(gamma=self.gamma, quantile_cost=1.0 / self.num_quantiles)

    @property
    def upper(self) -> QuantileMetaparameters:
        """Rates cannot exceed 1, weights not their outer values."""
        return self.reference._replace(gamma=1.0)

    @property
    def initial(self) -> QuantileMetaparameters:
        """`start` of the way to the upper bound, gamma at its reference."""
        near = QuantileMetaparameters(*(self.start * x for x in self.upper))
        near = near._replace(gamma=self.gamma)
        if self.shared:
            return near
        full = {name: jnp.full(self.num_quantiles, getattr(near, name)) for name in BY_QUANTILE}
        return near._replace(**full)

    def init(self, key: Array) -> QuantileMetaparameters:
        """The reference."""
        del key
        return self.reference

    def heads(self, num_actions: int) -> Heads:
        """Policy, and N values in one linear layer."""
        return Heads(logits=num_actions, value=self.num_quantiles)

    def targets(self, rule_params: QuantileMetaparameters, inputs: RuleInputs) -> QuantileTargets:
        """Each quantile's own returns, made of that quantile alone (Eqs. 9 and 10)."""
        check_inputs(inputs, self.heads(1))
        eta, shape = rule_params, inputs.value[:-1].shape
        assert inputs.log_ratio is not None, "off-policy rules read `off_policy_inputs`"
        log_ratio = inputs.log_ratio[..., 0]
        gamma, lam = (jnp.broadcast_to(x, shape[-1:]) for x in (eta.gamma, eta.lam))

        def of_quantile(value: Array, gamma: Array, lam: Array) -> tuple[Array, Array]:
            discount = inputs.not_done * gamma
            if self.num_steps is not None:
                returns = n_step_returns(inputs.reward, discount, value, self.num_steps)
                return returns, returns - value[:-1]
            return leaky_vtrace(inputs.reward, discount, value, log_ratio, lam, eta.alpha)

        axes = {"in_axes": (-1, 0, 0), "out_axes": -1}
        returns, advantages = jax.vmap(of_quantile, **axes)(inputs.value, gamma, lam)
        if not self.vtrace_advantage:
            # As printed; off-policy it weighs by the ratio a second time.
            clipped = jnp.minimum(1.0, jnp.exp(log_ratio))
            advantages = (returns - inputs.value[:-1]) * clipped[..., None]
        return QuantileTargets(
            returns=returns,
            advantage=jnp.mean(advantages, axis=-1),
            quantile_cost=jnp.broadcast_to(eta.quantile_cost, shape),
            policy_cost=jnp.broadcast_to(eta.policy_cost, shape[:-1]),
            entropy_cost=jnp.broadcast_to(eta.entropy_cost, shape[:-1]),
        )

    def loss(
        self,
        outputs: AgentOutputs,
        trajectory: Trajectory,
        targets: QuantileTargets,
        hypers: Hypers,
    ) -> Float[Array, ""]:
        """sum w_pi (-A log pi) - w_H H + sum_q w_Zq L_q (Eq. 11, its entropy's sign mended)."""
        del hypers
        widths = dict.fromkeys(("returns", "quantile_cost"), self.num_quantiles)
        check_loss(outputs, trajectory, targets, self.heads(1), **widths)
        logits = outputs.logits[:-1]
        log_prob = action_log_prob(logits, trajectory.action)
        critic = quantile_loss(outputs.value[:-1], targets.returns, self.kappa)
        return jnp.sum(
            jnp.sum(targets.quantile_cost * critic, axis=-1)
            - targets.policy_cost * targets.advantage * log_prob
            - targets.entropy_cost * entropy(logits)
        )

    def outer_loss(
        self,
        before: Float[Array, "T B A"],
        outputs: AgentOutputs,
        trajectory: Trajectory,
        inputs: RuleInputs,
        hypers: Hypers,
    ) -> Float[Array, ""]:
        """The same loss at the reference."""
        loss = self.loss(outputs, trajectory, self.targets(self.reference, inputs), hypers)
        return loss + self.kl_cost * kl_from(before, outputs.logits[:-1])
