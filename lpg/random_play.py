"""What a random policy earns."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from lpg import instance
from lpg.heads import mask_logits
from lpg.rollout import EpisodeSummary, rollout, start


def random_return(
    env: Any, params: Any, key: Array, num_envs: int = 64, num_steps: int = 1000
) -> float | None:
    """Mean return of finished episodes under the uniform policy over the actions that there are, in
    `num_envs` instances; None where none finished."""

    def play(key: Array) -> EpisodeSummary:
        key_params, key_start, key_play = jax.random.split(key, 3)
        own = instance.sample_params(env, key_params, params)
        mask = instance.action_mask(env, own)
        state = start(key_start, env, own, num_envs=1)

        def policy(observation: Array) -> Array:
            return mask_logits(jnp.zeros((len(observation), env.num_actions)), mask)

        return rollout(key_play, env, own, policy, state, num_steps)[2]

    each = jax.device_get(jax.jit(jax.vmap(play))(jax.random.split(key, num_envs)))
    count = each.count.sum()
    return float(each.return_sum.sum() / count) if count > 0 else None
