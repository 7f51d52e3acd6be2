"""V-trace, leaky or not: off-policy corrected returns over [T, B] trajectories."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Scalar = float | Float[Array, ""]


class VTrace(NamedTuple):
    """What a trajectory says V should become, and how much better its actions were than V."""

    value_target: Float[Array, "T B"]  # v_t
    advantage: Float[Array, "T B"]  # A_t, its importance weight included


def leaky_ratio(log_ratio: Float[Array, "T B"], alpha: Scalar, clip: Scalar) -> Float[Array, "T B"]:
    """alpha min(clip, IS) + (1 - alpha) IS, IS = exp(log_ratio) (Zahavy et al. 2020, Eq. 8)."""
    ratio = jnp.exp(log_ratio)
    return alpha * jnp.minimum(clip, ratio) + (1.0 - alpha) * ratio


def leaky_vtrace(
    reward: Float[Array, "T B"],
    discount: Float[Array, "T B"],
    value: Float[Array, "T+1 B"],
    log_ratio: Float[Array, "T B"],
    lam: Scalar = 1.0,
    alpha_rho: Scalar = 1.0,
    alpha_c: Scalar | None = None,
    clip_rho: Scalar = 1.0,
    clip_c: Scalar = 1.0,
) -> VTrace:
    """v_t = V_t + delta_t + discount_t c_t (v_{t+1} - V_{t+1}), v_T = V_T, with
    delta_t = rho_t (r_t + discount_t V_{t+1} - V_t), and
    A_t = rho_t (r_t + discount_t (lam v_{t+1} + (1 - lam) V_{t+1}) - V_t).

    rho and c = lam c are leaky ratios: alpha = 1 is V-trace, alpha = 0 full importance sampling.
    Differentiable in everything; whoever wants a semi-gradient stops `value` and `log_ratio`, since
    stopping what comes out would cut off gamma, lambda and alpha too.

    Args:
        discount: gamma where the episode goes on and 0 where it ended.
        log_ratio: log pi(a|s) - log mu(a|s), mu the policy that acted.
        alpha_c: of the trace's coefficients c; as `alpha_rho` where None.

    Source: Espeholt et al. 2018, Eq. 1, with lambda; Zahavy et al. 2020, Eq. 8.
    """
    rho = leaky_ratio(log_ratio, alpha_rho, clip_rho)
    c = lam * leaky_ratio(log_ratio, alpha_rho if alpha_c is None else alpha_c, clip_c)
    later = value[1:]
    delta = rho * (reward + discount * later - value[:-1])

    def step(following: Array, x: tuple[Array, Array]) -> tuple[Array, Array]:
        of_step, decay = x
        correction = of_step + decay * following
        return correction, correction

    start = jnp.zeros_like(delta[0])
    _, correction = jax.lax.scan(step, start, (delta, discount * c), reverse=True)
    target = value[:-1] + correction
    following = jnp.concatenate([target[1:], value[-1:]])
    mixed = lam * following + (1.0 - lam) * later
    return VTrace(target, rho * (reward + discount * mixed - value[:-1]))
