"""Which of its three roles makes a meta-gradient inaccurate: each sampled, or exact.

theta' has its value from one estimate (the compositional role) and its derivative from another,
independent one (the Hessian's); the outer gradient at theta_K is the third.

Source: Liu et al. 2022, appendix I.1.2; spec/bias.md, section 3.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Bool, Float

from envs.tabular_mdp import MDP
from lpg.choices import refuse_other
from metatrain.bias.exact import Meaning, Objective, Phi, exact_gradient, outer_objective
from metatrain.bias.sampled import Sampling, sampled_gradient

NUM_STEPS = 20  # T (Table 2)
CODES = ("SSS", "ESS", "SES", "EES", "SSE", "ESE", "SEE", "EEE")


class Roles(NamedTuple):
    """Whether each is sampled."""

    composition: Bool[Array, ""]
    hessian: Bool[Array, ""]
    outer: Bool[Array, ""]


class Injected(NamedTuple):
    """An error of the Hessian role's own: mean(theta^2 (offset + noise N)) in its objective."""

    offset: Float[Array, ""]
    noise: Float[Array, ""]


class Condition(NamedTuple):
    """What one program can be asked for without being compiled again."""

    sampling: Sampling
    roles: Roles
    learning_rate: Float[Array, ""]  # alpha, of the agent's steps
    injected: Injected


class Estimate(NamedTuple):
    """A meta-gradient, and the parameters it came by."""

    meta_gradient: Phi
    theta: Float[Array, "K1 S A"]  # theta_0 to theta_K


Gradient = Callable[..., Float[Array, "S A"]]


def roles_of(code: str) -> Roles:
    """Of a code in the order composition, Hessian, outer; ValueError for what is none."""
    refuse_other("roles", code, CODES)
    return Roles(*(jnp.asarray(letter == "S") for letter in code))


def meta_gradient(
    key: Array,
    meaning: Meaning,
    mdp: MDP,
    phi: Phi,
    condition: Condition,
    num_updates: int,
    num_trajectories: int,
) -> Estimate:
    """One estimate by K updates of n fresh trajectories for every role that is sampled.

    Keys do not depend on the condition, so that equal roles see equal data.
    """
    roles = condition.roles

    def gradient(
        key: Array, theta: Array, objective: Objective, is_sampled: Array, again: bool = False
    ) -> Array:
        sizes = (NUM_STEPS, num_trajectories, again)

        def sampled(theta: Array, objective: Objective) -> Array:
            return sampled_gradient(key, mdp, theta, objective, condition.sampling, *sizes)

        exact = partial(exact_gradient, mdp)
        return jax.lax.cond(is_sampled, sampled, exact, theta, objective)

    key_inner, key_outer = jax.random.split(key)

    def learn(phi: Phi) -> tuple[Array, Array]:
        start, inner = meaning(mdp, phi)

        def step(theta: Array, key: Array) -> tuple[Array, Array]:
            theta = update(key, theta, inner, gradient, condition)
            return theta, theta

        last, later = jax.lax.scan(step, start, jax.random.split(key_inner, num_updates))
        return last, jnp.concatenate([start[None], later])

    last, pullback, theta = jax.vjp(learn, phi, has_aux=True)
    outer = gradient(key_outer, last, outer_objective(mdp), roles.outer)
    return Estimate(pullback(outer)[0], theta)


def update(
    key: Array,
    theta: Float[Array, "S A"],
    objective: Objective,
    gradient: Gradient,
    condition: Condition,
) -> Float[Array, "S A"]:
    """theta' = sg theta_c + theta_h - sg theta_h."""
    key_composition, key_hessian, key_noise = jax.random.split(key, 3)
    fixed: Any = stop_gradient((theta, objective))
    value = gradient(key_composition, *fixed, condition.roles.composition)
    slope = gradient(key_hessian, theta, objective, condition.roles.hessian, again=True)
    noise = condition.injected.noise * jax.random.normal(key_noise, theta.shape)
    slope += 2.0 * theta * (condition.injected.offset + noise) / theta.size
    reached = fixed[0] + condition.learning_rate * value
    return joined(reached, theta + condition.learning_rate * slope)


def joined(reached: Float[Array, "*b"], moved: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """The value of the one and the derivative of the other."""
    return stop_gradient(reached) + (moved - stop_gradient(moved))  # 0 to the bit
