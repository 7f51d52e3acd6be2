"""The bandit over agent hyperparameters, one table per environment (Oh et al. 2020, Eq. 6)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

WINDOW = 10  # lifetimes that R(alpha) averages over (B.1)


class BanditState(NamedTuple):
    """What has been seen of each arm in each of a cohort's environments."""

    recent: Float[Array, "E arms 10"]  # normalised final returns of each arm's last lifetimes
    count: Int[Array, "E arms"]  # lifetimes ended with each arm, N(alpha)


def init(num_environments: int, num_arms: int) -> BanditState:
    """Nothing has been tried."""
    return BanditState(
        recent=jnp.zeros((num_environments, num_arms, WINDOW), jnp.float32),
        count=jnp.zeros((num_environments, num_arms), jnp.int32),
    )


def log_probabilities(
    state: BanditState, temperature: float, exploration: float
) -> Float[Array, "E arms"]:
    """log p(alpha | E) of Eq. 6; arms never tried come first, uniformly (its limit at N = 0)."""
    count = state.count.astype(jnp.float32)
    mean = jnp.sum(state.recent, axis=-1) / jnp.maximum(jnp.minimum(count, WINDOW), 1.0)
    score = (mean + exploration / jnp.sqrt(jnp.maximum(count, 1.0))) / temperature
    unvisited = state.count == 0
    any_unvisited = jnp.any(unvisited, axis=-1, keepdims=True)
    logits = jnp.where(any_unvisited, jnp.where(unvisited, 0.0, -jnp.inf), score)
    return jax.nn.log_softmax(logits)


def update(
    state: BanditState,
    environment: Int[Array, "L"],
    arm: Int[Array, "L"],
    final_return: Float[Array, "L"],
    ended: Bool[Array, "L"],
) -> BanditState:
    """Record the final returns of the lifetimes that ended, in the order of their slots.

    `final_return` is the normalised one in [0, 1]: a temperature of 0.1 presumes O(1) scores.
    """
    num_environments, num_arms = state.count.shape
    table = environment * num_arms + arm
    hits = jax.nn.one_hot(table, num_environments * num_arms, dtype=jnp.int32)
    hits = hits * ended[:, None].astype(jnp.int32)
    total = jnp.sum(hits, axis=0)
    rank = jnp.take_along_axis(jnp.cumsum(hits, axis=0), table[:, None], axis=1)[:, 0] - 1
    slot = (state.count.reshape(-1)[table] + rank) % WINDOW
    # Of more than ten that end at once with one arm only the last ten matter.
    kept = ended & (rank >= total[table] - WINDOW)
    row = jnp.where(kept, table, num_environments * num_arms)  # out of range: dropped
    recent = state.recent.reshape(-1, WINDOW).at[row, slot].set(final_return, mode="drop")
    return BanditState(
        recent=recent.reshape(state.recent.shape),
        count=state.count + total.reshape(state.count.shape),
    )
