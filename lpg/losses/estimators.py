"""Surrogates of a policy gradient that differ in what they are worth when differentiated again.

An agent's update climbs mean_B sum_T strength * weight. All weights here have the first derivative
that REINFORCE wants; a meta-gradient through the update sees their second, which is biased where
the weight forgets that data depend on theta. The strength (an advantage, or a learned rule's
pi_hat) is the caller's, and a constant in theta.

Source: Liu et al. 2022, appendix I.1; AD is what plain automatic differentiation of log pi gives.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Surrogate = Literal["autodiff", "lvc", "loaded_dice"]
LearnedSurrogate = Literal[Surrogate, "score"]  # of rules whose updates are no gradients
Weight = Callable[[Float[Array, "T B"], Float[Array, "T B"]], Float[Array, "T B"]]


def autodiff(log_prob: Float[Array, "T B"], not_done: Float[Array, "T B"]) -> Float[Array, "T B"]:
    """log pi_t; the second derivative is that of log pi_t alone (AD)."""
    del not_done
    return log_prob


def lvc(log_prob: Float[Array, "T B"], not_done: Float[Array, "T B"]) -> Float[Array, "T B"]:
    """rho_t - 1, rho_t = pi_t / sg pi_t: low-variance curvature, which adds g_t g_t' to AD's second
    derivative, g = grad log pi, and leaves out products of different steps.

    Source: Rothfuss et al. 2019 (LVC).
    """
    del not_done
    return jnp.exp(_log_ratio(log_prob)) - 1.0


def loaded_dice(
    log_prob: Float[Array, "T B"], not_done: Float[Array, "T B"], causal_discount: float = 1.0
) -> Float[Array, "T B"]:
    """P_t - P_{t-1}, P_t the product of rho since the episode began or, if later, the trajectory:
    every earlier action bears on what is earned now.

    Args:
        causal_discount: lambda_d, by which the log of an earlier ratio fades from step to step; 0
            is LVC, 1 unbiased. The first derivative is the same for all.

    Source: Farquhar et al. 2019 (Loaded DiCE).
    """
    after, before = _log_products(_log_ratio(log_prob), not_done, causal_discount)
    return jnp.exp(after) - jnp.exp(before)


def dice(
    log_prob: Float[Array, "T B"],
    not_done: Float[Array, "T B"],
    behaviour: Float[Array, "T B"] | None = None,
) -> Float[Array, "T B"]:
    """P_t, the weight of the reward gamma^t r_t itself, and not of an advantage.

    Args:
        behaviour: log mu_t of whoever acted in pi's place; ratios are then pi / mu, unclipped.

    Source: Foerster et al. 2018 (DiCE); off-policy, Liu et al. 2022, appendix I.2.
    """
    after, _ = _log_products(_log_ratio(log_prob, behaviour), not_done, 1.0)
    return jnp.exp(after)


def dice_baseline(
    log_prob: Float[Array, "T B"], behaviour: Float[Array, "T B"] | None = None
) -> Float[Array, "T B"]:
    """1 - rho_t, which times gamma^t b(s_t) takes variance off DiCE's first derivative.

    Source: Foerster et al. 2018, Eq. 5; `behaviour` as `dice` has it.
    """
    return 1.0 - jnp.exp(_log_ratio(log_prob, behaviour))


def score(log_prob: Float[Array, "T B"]) -> Float[Array, "B"]:
    """prod_T rho_t: 1, with the score of the whole trajectory for its derivative.

    It weighs a trajectory's whole update, of whatever kind, and must be a constant to the update's
    own gradient: then the expected update is differentiated without bias, if with much variance.
    """
    return jnp.exp(jnp.sum(_log_ratio(log_prob), axis=0))


WEIGHTS: dict[Surrogate, Weight] = {"autodiff": autodiff, "lvc": lvc, "loaded_dice": loaded_dice}


def refuse_surrogate(name: str, known: Any = Surrogate) -> None:
    """ValueError for a name that is none of the `known` ones."""
    if name not in get_args(known):
        why = " (its weights are of rewards, and would replace the rule)" if name == "dice" else ""
        raise ValueError(
            f"surrogate must be one of {', '.join(get_args(known))}, got {name!r}{why}."
        )


def policy_weight(
    surrogate: LearnedSurrogate, log_prob: Float[Array, "T B"], done: Bool[Array, "T B"]
) -> Float[Array, "T B"]:
    """What an agent's policy term multiplies its strengths by; `done` where a step ended an
    episode. Where the whole update is weighed, the policy term is as plain as can be."""
    weight = autodiff if surrogate == "score" else WEIGHTS[surrogate]
    return weight(log_prob, 1.0 - done.astype(log_prob.dtype))


def update_weight(
    surrogate: LearnedSurrogate, action_prob: Float[Array, "T B"]
) -> Float[Array, "T B"] | None:
    """What a trajectory's whole update is multiplied by, at each of its steps; None where it is
    not. A trajectory of no probability, as of a life that is not finite, has a weight of 1."""
    if surrogate != "score":
        return None
    tiny = jnp.finfo(action_prob.dtype).tiny
    return jnp.broadcast_to(score(jnp.log(jnp.maximum(action_prob, tiny))), action_prob.shape)


def _log_ratio(
    log_prob: Float[Array, "T B"], behaviour: Float[Array, "T B"] | None = None
) -> Float[Array, "T B"]:
    """log rho_t, with the derivative of log pi_t; 0 where pi itself acted."""
    return log_prob - jax.lax.stop_gradient(log_prob if behaviour is None else behaviour)


def _log_products(
    log_ratio: Float[Array, "T B"], not_done: Float[Array, "T B"], decay: float
) -> tuple[Float[Array, "T B"], Float[Array, "T B"]]:
    """w_t = v_t + log rho_t and v_t = decay w_{t-1}, which is 0 where an episode begins."""
    goes_on = jnp.concatenate([jnp.zeros_like(not_done[:1]), not_done[:-1]])

    def step(before: Array, x: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        ratio, factor = x
        before = factor * before
        after = before + ratio
        return after, (after, before)

    start = jnp.zeros_like(log_ratio[0])
    _, products = jax.lax.scan(step, start, (log_ratio, decay * goes_on))
    return products
