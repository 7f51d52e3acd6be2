"""Returns and advantages over [T, B] trajectories, computed backwards in time."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def bootstrapped(
    reward: Float[Array, "T B"],
    final_value: Float[Array, "T B"] | None,
    gamma: Float[Array, "*B"],
) -> Float[Array, "T B"]:
    """r_t, and gamma V of the last observation where a time limit cut the episode: as a return's
    sum stops there, this stands for what could still have been earned.

    Args:
        final_value: V there, 0 at all other steps; None where time limits are ends.

    Source: Pardo et al. 2018, Eq. 6 (partial-episode bootstrapping).
    """
    if final_value is None:
        return reward
    return reward + jnp.broadcast_to(gamma, reward.shape) * final_value


def lambda_returns(
    reward: Float[Array, "T B"],
    discount: Float[Array, "T B"],
    value: Float[Array, "T+1 B"],
    lam: float | Float[Array, ""],
) -> Float[Array, "T B"]:
    """TD(lambda) targets G_t = r_t + discount_t ((1-lam) V(s_{t+1}) + lam G_{t+1}), G_T = V(s_T).

    `discount` is gamma where the episode goes on and 0 where it ended, so that nothing of the
    next episode enters.

    Source: Sutton and Barto 2018, Eq. 12.18 (recursive form).
    """

    def step(following: Array, x: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        r, d, next_value = x
        g = r + d * ((1.0 - lam) * next_value + lam * following)
        return g, g

    _, returns = jax.lax.scan(step, value[-1], (reward, discount, value[1:]), reverse=True)
    return returns


def generalised_advantage(
    reward: Float[Array, "T B"],
    discount: Float[Array, "T B"],
    value: Float[Array, "T+1 B"],
    lam: float | Float[Array, ""],
) -> Float[Array, "T B"]:
    """GAE: A_t = lambda-return_t - V(s_t).

    Source: Schulman et al. 2016, Eq. 16, in the equivalent form of lambda-returns.
    """
    return lambda_returns(reward, discount, value, lam) - value[:-1]


def n_step_returns(
    reward: Float[Array, "T B"],
    discount: Float[Array, "T B"],
    value: Float[Array, "T+1 B"],
    n: int,
) -> Float[Array, "T B"]:
    """n rewards and then V; near the end as many as there are, and then V(s_T).

    Source: Sutton and Barto 2018, Eq. 7.1.
    """
    length = reward.shape[0]
    # Past the end nothing is earned and nothing discounted, so that V(s_T) comes through.
    reward = jnp.pad(reward, ((0, n), (0, 0)))
    discount = jnp.pad(discount, ((0, n), (0, 0)), constant_values=1.0)
    returns = jnp.concatenate([value, jnp.broadcast_to(value[-1:], (n, *value.shape[1:]))])
    returns = returns[n : n + length]
    for k in reversed(range(n)):
        returns = reward[k : k + length] + discount[k : k + length] * returns
    return returns
