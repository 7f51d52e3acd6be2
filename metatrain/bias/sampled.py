"""Policy gradients from sampled trajectories of a tabular MDP, by the estimators under study.

Source: Liu et al. 2022, appendix I.1; spec/bias.md, sections 2 and 4.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from envs.tabular_mdp import MDP, drawn, running_sums, state_values
from lpg.losses.estimators import WEIGHTS as OF_ADVANTAGES
from lpg.losses.estimators import Weight, dice, score
from lpg.losses.returns import generalised_advantage
from metatrain.bias.exact import Objective

ESTIMATORS = ("autodiff", "lvc", "loaded_dice", "dice", "score")
WEIGHTS: dict[str, Weight] = {**OF_ADVANTAGES, "dice": dice}


class Paths(NamedTuple):
    """n trajectories of T steps from state 0."""

    state: Int[Array, "T1 n"]
    action: Int[Array, "T n"]


class Sampling(NamedTuple):
    """How a role's data come about."""

    estimator: Int[Array, ""]  # its place in ESTIMATORS
    value_noise: Float[Array, ""]  # nu, of V's estimate in units of its root mean square / sqrt S


def sample_paths(
    key: Array, mdp: MDP, theta: Float[Array, "S A"], num_steps: int, num_trajectories: int
) -> Paths:
    """Trajectories under softmax(theta), each step by two uniforms in float32."""
    acting = running_sums(jax.nn.softmax(theta))
    moving = running_sums(mdp.transition)

    def step(state: Array, uniform: Array) -> tuple[Array, tuple[Array, Array]]:
        action = drawn(acting[state], uniform[0])
        after = drawn(moving[state, action], uniform[1])
        return after, (state, action)

    uniforms = jax.random.uniform(key, (num_steps, 2, num_trajectories), jnp.float32)
    last, (state, action) = jax.lax.scan(step, jnp.zeros(num_trajectories, jnp.int32), uniforms)
    return Paths(jnp.concatenate([state, last[None]]), action)


def noisy_values(
    key: Array, mdp: MDP, theta: Float[Array, "S A"], objective: Objective, noise: Array
) -> Float[Array, "S"]:
    """V + noise ||V|| / S N(0, I): one draw, which all of an estimator's trajectories share.

    Differentiable in the objective; the policy and the noise are constants.
    """
    policy = jax.nn.softmax(jax.lax.stop_gradient(theta))
    value = state_values(mdp._replace(reward=objective.reward), policy, objective.gamma)
    fixed = jax.lax.stop_gradient(value)
    size = noise * jnp.linalg.norm(fixed) / len(fixed)
    return value + size * jax.random.normal(key, fixed.shape)


def policy_gradient(
    estimator: Int[Array, ""],
    theta: Float[Array, "S A"],
    paths: Paths,
    value: Float[Array, "S"],
    objective: Objective,
    again: bool = True,
) -> Float[Array, "S A"]:
    """mean over trajectories of the estimator's, at theta; made to be differentiated again, in
    theta as the estimator has it and in the objective through rewards, gamma and lambda.

    Args:
        again: False where it is not: all estimators but DiCE are the same then.
    """
    state = paths.state[:-1]
    reward = objective.reward[state, paths.action]
    gamma = jnp.broadcast_to(objective.gamma, reward.shape)
    advantage = generalised_advantage(reward, gamma, value[paths.state], objective.lam)
    discount = jnp.cumprod(jnp.concatenate([jnp.ones_like(gamma[:1]), gamma[1:]]), axis=0)
    goes_on = jnp.ones_like(reward)

    def log_prob(theta: Array) -> Array:
        return jax.nn.log_softmax(theta)[state, paths.action]

    def by(weight: str, theta: Array) -> Array:
        strength = discount * (reward if weight == "dice" else advantage)

        def surrogate(theta: Array) -> Array:
            return jnp.mean(jnp.sum(strength * WEIGHTS[weight](log_prob(theta), goes_on), axis=0))

        return jax.grad(surrogate)(theta)

    def by_score(theta: Array) -> Array:
        whole = score(log_prob(theta))

        def surrogate(theta: Array) -> Array:
            return jnp.mean(whole * jnp.sum(discount * advantage * log_prob(theta), axis=0))

        return jax.grad(surrogate)(theta)

    if not again:
        rewarded = estimator == ESTIMATORS.index("dice")
        return jax.lax.cond(rewarded, partial(by, "dice"), partial(by, "autodiff"), theta)
    branches = [partial(by, name) for name in ESTIMATORS if name != "score"]
    return jax.lax.switch(estimator, [*branches, by_score], theta)


def sampled_gradient(
    key: Array,
    mdp: MDP,
    theta: Float[Array, "S A"],
    objective: Objective,
    sampling: Sampling,
    num_steps: int,
    num_trajectories: int,
    again: bool = True,
) -> Float[Array, "S A"]:
    """A fresh estimate of the objective's gradient at theta, by trajectories and a noisy V; `again`
    as `policy_gradient` has it."""
    key_paths, key_value = jax.random.split(key)
    acting = jax.lax.stop_gradient(theta)
    paths = sample_paths(key_paths, mdp, acting, num_steps, num_trajectories)
    value = noisy_values(key_value, mdp, theta, objective, sampling.value_noise)
    return policy_gradient(sampling.estimator, theta, paths, value, objective, again)
