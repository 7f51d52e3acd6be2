"""On-policy rollouts of B parallel environments of one lifetime; vmap over lifetimes outside."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from lpg.heads import action_log_prob
from lpg.instance import carry_over
from lpg.platform import platform
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


class Beyond(NamedTuple):
    """How to go on beyond a time limit."""

    value: Callable[[Array], Array]  # observations [n, *obs] to V [n]
    spacing: int = 1  # least steps between two time limits of an environment (`least_limit`)


def final_values(
    beyond: Beyond, cut: Bool[Array, "T B"], last: Shaped[Array, "T B *obs"]
) -> Float[Array, "T B"]:
    """V of where a time limit `cut` an episode, else 0; `last` are observations before resets.

    Limits lie far apart, so V is asked once for each stretch of steps that can hold but one.
    """
    num_steps, num_envs = cut.shape
    width = max(n for n in range(1, num_steps + 1) if num_steps % n == 0 and n <= beyond.spacing)
    stretches = cut.reshape((-1, width, num_envs))
    step = jnp.argmax(stretches, axis=1) + width * jnp.arange(len(stretches))[:, None]
    chosen = last[step, jnp.arange(num_envs)[None]]
    value = beyond.value(chosen.reshape((-1, *last.shape[2:])))
    check_shape("value(observation)", value, (step.size,), "one for each observation")
    value = jnp.repeat(value.reshape(step.shape), width, axis=0)
    return jax.lax.stop_gradient(jnp.where(cut, value, 0.0))


Numbers = tuple[Shaped[Array, "*T B"], ...]  # action, reward, its two ends, log-probability, return


def _packed(numbers: Numbers) -> Any:
    """On accelerators one array [6, B]: a loop stacks each array by a kernel of its own there."""
    if platform() == "cpu":
        return numbers
    dtype = jnp.result_type(*numbers)  # float32 holds small integers as they are
    return jnp.stack([x.astype(dtype) for x in numbers])


def _unpacked(stacked: Any) -> Numbers:
    """The inverse, with an axis of time in front."""
    if platform() == "cpu":
        return stacked
    action, reward, *ends, log_prob, finished = jnp.moveaxis(stacked, 1, 0)
    terminated, truncated = (end.astype(bool) for end in ends)
    return action.astype(jnp.int32), reward, terminated, truncated, log_prob, finished


def _logits(
    policy: Callable[[Array], Array], observation: Shaped[Array, "B *obs"], num_actions: int
) -> Float[Array, "B A"]:
    logits = jax.lax.stop_gradient(policy(observation))
    one_each = "the batch, then one for each action"
    check_shape("policy(observation)", logits, (len(observation), num_actions), one_each)
    return logits


def rollout(
    key: Array,
    env: Any,
    env_params: Any,
    policy: Callable[[Array], Array],
    state: RolloutState,
    num_steps: int,
    beyond: Beyond | None = None,
) -> tuple[RolloutState, Trajectory, EpisodeSummary]:
    """`num_steps` steps of every environment; `policy` maps observations [B, ...] to logits [B, A].

    Episodes go on across calls. Nothing here carries a gradient. The key splits into one for the
    actions' uniforms [T, B] and one that splits into the [T, B] keys of the environments' steps.

    Args:
        beyond: for the trajectory's `final_value`.
    """
    num_envs = state.episode_return.shape[0]
    key_actions, key_steps = jax.random.split(key)
    uniforms = jax.random.uniform(key_actions, (num_steps, num_envs), jnp.float32)
    vmapped_step = jax.vmap(step_and_reset, in_axes=(None, 0, 0, 0, None))

    def step(carry: RolloutState, x: tuple[Array, Draws]) -> tuple[RolloutState, Any]:
        uniform, drawn = x
        logits = _logits(policy, carry.observation, env.num_actions)
        action = sample_action(logits, uniform)
        log_prob = action_log_prob(logits, action)
        after = vmapped_step(env, drawn, carry.env_state, action, env_params)
        ends = after.terminated, after.truncated
        done, total = jnp.logical_or(*ends), carry.episode_return + after.reward
        carry_next = RolloutState(after.state, after.observation, jnp.where(done, 0.0, total))
        numbers = action, after.reward, *ends, log_prob, jnp.where(done, total, 0.0)
        last = None if beyond is None else after.last
        return carry_next, (carry.observation, _packed(numbers), last)

    xs = uniforms, _draws(env, key_steps, num_steps, num_envs)
    final, (observation, numbers, last) = jax.lax.scan(step, state, xs)
    observation = jnp.concatenate([observation, final.observation[None]])
    *seen, finished = _unpacked(numbers)
    trajectory = Trajectory(observation, *seen)
    if beyond is not None:
        cut = trajectory.truncated & ~trajectory.terminated
        trajectory = trajectory._replace(final_value=final_values(beyond, cut, last))
    sums = finished, trajectory.done.astype(jnp.float32), trajectory.reward
    return final, trajectory, EpisodeSummary(*map(jnp.sum, sums))
