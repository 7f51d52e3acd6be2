"""On-policy rollouts of B parallel environments of one lifetime; vmap over lifetimes outside."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from lpg.heads import action_log_prob
from lpg.instance import carry_over
from lpg.shapes import check_shape
from lpg.trajectory import Trajectory


class RolloutState(NamedTuple):
    """Where B environments are, between one rollout and the next."""

    env_state: Any  # gymnax EnvState with leading axis B
    observation: Shaped[Array, "B *obs"]
    episode_return: Float[Array, "B"]  # of the running episodes, undiscounted


class EpisodeSummary(NamedTuple):
    """Undiscounted returns of the episodes that finished, and the sum of all rewards."""

    return_sum: Float[Array, "*L"]
    count: Float[Array, "*L"]
    reward_sum: Float[Array, "*L"]


def start(key: Array, env: Any, env_params: Any, num_envs: int) -> RolloutState:
    """Freshly reset environments."""
    keys = jax.random.split(key, num_envs)
    observation, env_state = jax.vmap(env.reset_env, in_axes=(0, None))(keys, env_params)
    return RolloutState(env_state, observation, jnp.zeros((num_envs,), jnp.float32))


def sample_action(logits: Float[Array, "B A"], uniform: Float[Array, "B"]) -> Int[Array, "B"]:
    """Inverse-CDF sample from softmax(logits) by one uniform in [0, 1) a row."""
    # In float32 whatever the network's precision: bfloat16 could round a draw up to 1.
    cumulative = jnp.cumsum(jax.nn.softmax(logits.astype(jnp.float32)), axis=-1)
    # Scaled by the last entry, which rounding can leave just below 1, so that no draw falls past
    # the last valid action.
    threshold = uniform[:, None] * cumulative[:, -1:]
    return jnp.sum(cumulative <= threshold, axis=-1, dtype=jnp.int32)


class Draws(NamedTuple):
    """What chance contributes to one step of one environment and to the reset after it.

    For an environment with `draw_step`, `step_with`, `draw_reset` and `reset_with` these are the
    numbers drawn, made for a whole rollout at once; for any other gymnax environment, the keys.
    """

    step: Any
    reset: Any


def draw(env: Any, key: Array) -> Draws:
    """As gymnax's public `step` uses its key."""
    key_step, key_reset = jax.random.split(key)
    if hasattr(env, "draw_step"):
        return Draws(env.draw_step(key_step), env.draw_reset(key_reset))
    return Draws(key_step, key_reset)


class Step(NamedTuple):
    """What a step led to."""

    observation: Shaped[Array, "*B_obs"]  # the next episode's first, where one ended
    state: Any
    reward: Float[Array, "*B"]
    terminated: Bool[Array, "*B"]
    truncated: Bool[Array, "*B"]
    last: Shaped[Array, "*B_obs"]  # the observation before a reset


def _draws(env: Any, key: Array, num_steps: int, num_envs: int) -> Draws:
    """For every step of every environment, leaves [T, B, ...]."""
    draws = jax.vmap(lambda k: draw(env, k))(jax.random.split(key, num_steps * num_envs))
    return jax.tree.map(lambda x: x.reshape((num_steps, num_envs, *x.shape[1:])), draws)


def step_and_reset(
    env: Any, draws: Draws, state: Any, action: Int[Array, ""], env_params: Any
) -> Step:
    """One environment's step with autoreset: what gymnax's public `step` does, without its info."""
    drawn = hasattr(env, "draw_step")
    step, reset = (env.step_with, env.reset_with) if drawn else (env.step_env, env.reset_env)
    observation, state, reward, terminated, _ = step(draws.step, state, action, env_params)
    truncated = env.is_truncated(state, env_params)
    done = jnp.logical_or(terminated, truncated)
    observation_reset, state_reset = reset(draws.reset, env_params)
    state_reset = carry_over(env, state, state_reset)

    def select(fresh: Any, current: Any) -> Any:
        return jax.tree.map(lambda a, b: jax.lax.select(done, a, b), fresh, current)

    return Step(
        observation=select(observation_reset, observation),
        state=select(state_reset, state),
        reward=jnp.asarray(reward, jnp.float32),
        terminated=jnp.asarray(terminated, bool),
        truncated=jnp.asarray(truncated, bool),
        last=observation,
    )


def final_value(value: Callable[[Array], Array], after: Step) -> Float[Array, "B"]:
    """V of where the time limit cut an episode that the environment had not ended; else 0."""
    cut = after.truncated & ~after.terminated
    found = jax.lax.stop_gradient(value(after.last))
    check_shape("value(observation)", found, cut.shape, "one for each environment")
    return jnp.where(cut, found, 0.0)


def rollout(
    key: Array,
    env: Any,
    env_params: Any,
    policy: Callable[[Array], Array],
    state: RolloutState,
    num_steps: int,
    value: Callable[[Array], Array] | None = None,
) -> tuple[RolloutState, Trajectory, EpisodeSummary]:
    """`num_steps` steps of every environment; `policy` maps observations [B, ...] to logits [B, A].

    Episodes go on across calls. Nothing here carries a gradient. The key splits into one for the
    actions' uniforms [T, B] and one that splits into the [T, B] keys of the environments' steps.

    Args:
        value: observations [B, ...] to V [B], for the trajectory's `final_value`. It is asked at
            every step: cheaper than keeping observations that are hardly ever needed.
    """
    num_envs = state.episode_return.shape[0]
    key_actions, key_steps = jax.random.split(key)
    uniforms = jax.random.uniform(key_actions, (num_steps, num_envs), jnp.float32)
    draws = _draws(env, key_steps, num_steps, num_envs)
    vmapped_step = jax.vmap(step_and_reset, in_axes=(None, 0, 0, 0, None))

    def step(carry: RolloutState, x: tuple[Array, Draws]) -> tuple[RolloutState, Any]:
        uniform, drawn = x
        logits = jax.lax.stop_gradient(policy(carry.observation))
        one_each = "the batch, then one for each action"
        check_shape("policy(observation)", logits, (num_envs, env.num_actions), one_each)
        action = sample_action(logits, uniform)
        log_prob = action_log_prob(logits, action)
        after = vmapped_step(env, drawn, carry.env_state, action, env_params)
        ends = after.terminated, after.truncated
        done = after.terminated | after.truncated
        total = carry.episode_return + after.reward
        carry_next = RolloutState(after.state, after.observation, jnp.where(done, 0.0, total))
        finished = jnp.where(done, total, 0.0)
        cut = None if value is None else final_value(value, after)
        seen = Trajectory(carry.observation, action, after.reward, *ends, log_prob, cut)
        return carry_next, (seen, finished)

    final, (trajectory, finished) = jax.lax.scan(step, state, (uniforms, draws))
    observation = jnp.concatenate([trajectory.observation, final.observation[None]])
    trajectory = trajectory._replace(observation=observation)
    count = jnp.sum(trajectory.done.astype(jnp.float32))
    summary = EpisodeSummary(jnp.sum(finished), count, jnp.sum(trajectory.reward))
    return final, trajectory, summary
