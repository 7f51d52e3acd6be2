"""Meta-gradients without an error: automatic differentiation through V by linear solve.

phi is meta-learned: theta_0 for MAML, an intrinsic reward for LIRPG, gamma and lambda for MGRL. An
agent takes K steps up its expected return by what phi makes of it, and phi climbs the return of
theta_K in the MDP as it is.

Source: Liu et al. 2022, Proposition 3.1 and appendix I.1; spec/bias.md, sections 1 and 6.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from envs.tabular_mdp import MDP, state_values

GAMMA = 0.8  # of the MDP as it is (Table 2)
Phi = Any  # a pytree of arrays


class Objective(NamedTuple):
    """A return that agents climb: what is paid, and how it is discounted and estimated."""

    reward: Float[Array, "S A"]
    gamma: Float[Array, ""]
    lam: Float[Array, ""]  # of the estimate's advantages; the exact return has no use for it


class Start(NamedTuple):
    """What phi means for the agent."""

    theta: Float[Array, "S A"]  # logits of the first policy
    inner: Objective


Meaning = Callable[[MDP, Phi], Start]


def outer_objective(mdp: MDP) -> Objective:
    """The MDP's own return; advantages of whole trajectories."""
    return Objective(mdp.reward, jnp.asarray(GAMMA), jnp.asarray(1.0))


def maml(mdp: MDP, phi: Float[Array, "S A"]) -> Start:
    """phi is where theta starts."""
    return Start(phi, outer_objective(mdp))


def lirpg(mdp: MDP, phi: Float[Array, "S A"]) -> Start:
    """phi is paid on top of the reward; GAE with lambda .9."""
    inner = Objective(mdp.reward + phi, jnp.asarray(GAMMA), jnp.asarray(0.9))
    return Start(jnp.zeros_like(mdp.reward), inner)


def mgrl(mdp: MDP, phi: Float[Array, "2"]) -> Start:
    """phi is gamma and lambda before their sigmoids; of lambda the exact meta-gradient is 0."""
    gamma, lam = jax.nn.sigmoid(phi)
    return Start(jnp.zeros_like(mdp.reward), Objective(mdp.reward, gamma, lam))


MEANINGS: dict[str, Meaning] = {"maml": maml, "lirpg": lirpg, "mgrl": mgrl}


def first_phi(problem: str, mdp: MDP) -> Phi:
    """Zeros, at which the policy is uniform; MGRL's gamma is .8 and its lambda .9."""
    if problem == "mgrl":
        return jax.scipy.special.logit(jnp.array([GAMMA, 0.9]))
    return jnp.zeros_like(mdp.reward)


def expected_return(mdp: MDP, theta: Float[Array, "S A"], objective: Objective) -> Float[Array, ""]:
    """V(s_0) of the softmax policy, over an infinite horizon."""
    paid = mdp._replace(reward=objective.reward)
    return state_values(paid, jax.nn.softmax(theta), objective.gamma)[0]


exact_gradient = jax.grad(expected_return, argnums=1)  # J's with respect to theta


def theta_after(
    meaning: Meaning, mdp: MDP, phi: Phi, num_updates: int, learning_rate: float | Array
) -> Float[Array, "K1 S A"]:
    """theta_0 to theta_K, by exact steps; differentiable in phi."""
    theta, inner = meaning(mdp, phi)

    def step(theta: Array, _: None) -> tuple[Array, Array]:
        theta = theta + learning_rate * exact_gradient(mdp, theta, inner)
        return theta, theta

    _, later = jax.lax.scan(step, theta, length=num_updates)
    return jnp.concatenate([theta[None], later])


def exact_meta_gradient(
    meaning: Meaning, mdp: MDP, phi: Phi, num_updates: int, learning_rate: float | Array
) -> Phi:
    """Of the return of theta_K, with respect to phi."""

    def outer(phi: Phi) -> Array:
        last = theta_after(meaning, mdp, phi, num_updates, learning_rate)[-1]
        return expected_return(mdp, last, outer_objective(mdp))

    return jax.grad(outer)(phi)
