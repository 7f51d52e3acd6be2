"""What an environment may say of an instance of itself, beyond gymnax's interface.

All of it is optional and asked for here alone, so that meta-training, meta-testing and the random
reference understand an environment alike.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

OPTIONAL = ("sample_params", "action_mask", "count_states", "num_states")
OPTIONAL += ("carry_over", "for_parallel", "least_limit")


def has_instances(env: Any) -> bool:
    """Whether every life draws an instance of its own."""
    return hasattr(env, "sample_params")


def sample_params(env: Any, key: Array, params: Any) -> Any:
    """One life's instance, by `env.sample_params(key, params)`; else there is just `params`."""
    return env.sample_params(key, params) if has_instances(env) else params


def action_mask(env: Any, params: Any) -> Bool[Array, "A"]:
    """Which of the `env.num_actions` actions the instance has, by `env.action_mask(params)`; all of
    them where it does not say."""
    mask = getattr(env, "action_mask", None)
    return jnp.ones((env.num_actions,), bool) if mask is None else mask(params)


def count_states(env: Any, params: Any) -> Int[Array, ""]:
    """The instance's own number of states, by `env.count_states(params)`, for the scale of a
    table's initial rows; all that a table has where it does not say."""
    count = getattr(env, "count_states", None)
    return jnp.int32(max(1, num_states(env))) if count is None else count(params)


def num_states(env: Any) -> int:
    """`env.num_states`, static and large enough for every instance; 0 where observations are no
    state indices."""
    return getattr(env, "num_states", 0)


def carry_over(env: Any, before: Any, fresh: Any) -> Any:
    """The state that the next episode begins in, by `env.carry_over(before, fresh)`: what outlives
    an episode, such as a clock, goes from the last one to what a reset made; else just `fresh`."""
    carry = getattr(env, "carry_over", None)
    return fresh if carry is None else carry(before, fresh)


def for_parallel(env: Any, params: Any, num_envs: int) -> Any:
    """`params` where `num_envs` environments are stepped side by side, by
    `env.for_parallel(params, num_envs)`: what counts steps counts those of all of them."""
    adapt = getattr(env, "for_parallel", None)
    return params if adapt is None else adapt(params, num_envs)


def least_limit(env: Any, params: Any) -> int:
    """The least number of steps between two time limits, by `env.least_limit(params)` of params
    that are at hand; 1 where it does not say."""
    told = getattr(env, "least_limit", None)
    return 1 if told is None else max(1, told(params))


def observation_shape(env: Any, params: Any) -> tuple[int, ...]:
    """Shape of one observation, by tracing a reset (spaces of padded environments vary)."""
    return jax.eval_shape(lambda key: env.reset_env(key, params)[0], jax.random.key(0)).shape
