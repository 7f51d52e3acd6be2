"""Fresh agents under a frozen rule: many lifetimes at once, whole lives in one jitted program."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from lpg.agent import Agent, Body
from lpg.instance import action_mask, count_states, has_instances, sample_params
from lpg.rollout import EpisodeSummary, RolloutState, rollout, start
from lpg.rule import Hypers, RuleInputs, RuleParams, UpdateRule, rule_inputs
from lpg.update import AgentState, agent_step


@dataclass(frozen=True, eq=False)
class Task:
    """What agents are trained on, and with which rule."""

    rule: UpdateRule
    rule_params: RuleParams
    env: Any  # gymnax environment
    env_params: Any  # its params; `env.sample_params`, if there is one, draws each life's instance
    agent: Agent
    optimizer: optax.GradientTransformation
    num_envs: int = 64
    num_steps: int = 20
    reward_scale: float = 1.0  # of the rewards that the rule reads, not of those reported


class Life(NamedTuple):
    """One agent's life; leaves have leading axis N in a batch of lives."""

    key: Array
    env_params: Any  # its own instance of the environment; () where there is just the task's
    action_mask: Bool[Array, "*N A"]
    hypers: Hypers
    agent: AgentState
    rollout: RolloutState


class Curve(NamedTuple):
    """What N lives yielded, log point by log point."""

    updates: np.ndarray  # i64 [P]: agent updates done at each point
    reward_per_step: np.ndarray  # f32 [P, N]: means since the point before
    episode_return: np.ndarray  # f32 [P, N]: mean undiscounted return; NaN where none finished
    diverged: np.ndarray  # bool [N]: lives that ended with parameters that are not finite


def born(task: Task, key: Array, hypers: Hypers) -> Life:
    key, key_params, key_agent, key_start = jax.random.split(key, 4)
    env_params = sample_params(task.env, key_params, task.env_params)
    params = task.agent.init(key_agent, count_states(task.env, env_params))
    return Life(
        key=key,
        env_params=env_params if has_instances(task.env) else (),
        action_mask=action_mask(task.env, env_params),
        hypers=hypers,
        agent=AgentState(params, task.optimizer.init(params)),
        rollout=start(key_start, task.env, env_params, task.num_envs),
    )


def update(task: Task, lives: Life) -> tuple[Life, EpisodeSummary]:
    """One rollout and one agent update of every life; the rule sees all rows in one call."""
    lives, trajectory, summary = jax.vmap(partial(_act, task))(lives)
    trajectory = trajectory._replace(reward=trajectory.reward * task.reward_scale)
    inputs = jax.vmap(partial(_inputs, task))(lives, trajectory)
    targets = _batched_targets(task, inputs)

    def step(life, trajectory, targets):
        body = Body(task.agent, life.action_mask)
        return agent_step(
            task.rule, body, task.optimizer, life.agent, trajectory, targets, life.hypers
        )

    return lives._replace(agent=jax.vmap(step)(lives, trajectory, targets)), summary


def _act(task: Task, life: Life) -> tuple[Life, Any, EpisodeSummary]:
    key, key_rollout = jax.random.split(life.key)

    def policy(observation: Array) -> Array:
        return Body(task.agent, life.action_mask).outputs(life.agent.params, observation).logits

    env_params = life.env_params if has_instances(task.env) else task.env_params
    state, trajectory, summary = rollout(
        key_rollout, task.env, env_params, policy, life.rollout, task.num_steps
    )
    return life._replace(key=key, rollout=state), trajectory, summary


def _inputs(task: Task, life: Life, trajectory: Any) -> RuleInputs:
    body = Body(task.agent, life.action_mask)
    outputs = body.outputs(life.agent.params, trajectory.observation)
    return rule_inputs(outputs, trajectory, life.hypers.gamma)


def _batched_targets(task: Task, inputs: RuleInputs) -> Any:
    """Targets [N, T, B, ...] by one call of the rule on [T, N * B] rows."""
    num_lives, num_steps, num_envs = inputs.reward.shape

    def to_rows(x: Array) -> Array:
        return jnp.moveaxis(x, 0, 1).reshape((x.shape[1], num_lives * num_envs, *x.shape[3:]))

    def to_lives(x: Array) -> Array:
        return jnp.moveaxis(x.reshape((num_steps, num_lives, num_envs, *x.shape[2:])), 1, 0)

    rows = jax.tree.map(to_rows, inputs._replace(gamma=()))
    rows = rows._replace(gamma=inputs.gamma.reshape(-1))
    return jax.tree.map(to_lives, task.rule.targets(task.rule_params, rows))


def train(
    task: Task,
    key: Array,
    learning_rate: Float[np.ndarray, "N"],
    kl_cost: Float[np.ndarray, "N"],
    gamma: float,
    num_updates: int,
    num_points: int = 50,
    on_progress: Callable[[int], None] = lambda updates: None,
    seeds: Int[np.ndarray, "N"] | None = None,
) -> Curve:
    """Train N fresh agents for `num_updates` updates each.

    Args:
        learning_rate, kl_cost: alpha of each life.
        num_points: log points along the lives; everything between two is one program.
        on_progress: called with the number of updates done since the last call.
        seeds: lives of equal seed have equal worlds, agents and draws; 0 to N - 1 by default.
    """
    num_lives = len(learning_rate)
    seeds = np.arange(num_lives) if seeds is None else seeds
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.asarray(seeds))
    hypers = Hypers(
        learning_rate=jnp.asarray(learning_rate, jnp.float32),
        kl_cost=jnp.asarray(kl_cost, jnp.float32),
        gamma=jnp.full((num_lives,), gamma, jnp.float32),
    )
    lives = jax.jit(jax.vmap(partial(born, task)))(keys, hypers)
    program = jax.jit(partial(run_updates, task), donate_argnums=0)
    points: list[tuple[int, np.ndarray, np.ndarray]] = []
    done = 0
    for length in _chunk_lengths(num_updates, num_points):
        lives, summary = program(lives, jnp.int32(length))
        summary = jax.device_get(summary)
        done += length
        steps = length * task.num_steps * task.num_envs
        finished = np.maximum(summary.count, 1)
        returns = np.where(summary.count > 0, summary.return_sum / finished, np.nan)
        points.append((done, summary.reward_sum / steps, returns))
        on_progress(length)
    finite = jax.vmap(lambda p: jnp.isfinite(optax.global_norm(p)))(lives.agent.params)
    updates, rewards, returns = zip(*points, strict=True)
    return Curve(np.array(updates), np.stack(rewards), np.stack(returns), ~np.asarray(finite))


def run_updates(task: Task, lives: Life, num_updates: Array) -> tuple[Life, EpisodeSummary]:
    """`num_updates` updates (data, so that every chunk shares one program), summaries added up."""

    def step(_, carry):
        lives, total = carry
        lives, summary = update(task, lives)
        return lives, jax.tree.map(jnp.add, total, summary)

    zero = EpisodeSummary(*(jnp.zeros(lives.hypers.gamma.shape, jnp.float32),) * 3)
    return jax.lax.fori_loop(0, num_updates, step, (lives, zero))


def _chunk_lengths(total: int, num_points: int) -> Iterator[int]:
    ends = np.unique(np.round(np.linspace(0, total, min(num_points, total) + 1)).astype(int))
    yield from (int(n) for n in np.diff(ends))
