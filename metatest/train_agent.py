"""Fresh agents under a learner: many lifetimes at once, whole lives in one jitted program."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from lpg.agent import Agent, Body, Condition
from lpg.instance import action_mask, count_states, has_instances, sample_params
from lpg.learner import Learner, LearnerState, ahead
from lpg.rollout import Beyond, EpisodeSummary, RolloutState, rollout, start
from lpg.rule import Hypers, bootstraps
from lpg.trajectory import Trajectory
from lpg.update import AgentState
from metatest.curve import Curve, as_curve, point
from metatest.saved import Saved


@dataclass(frozen=True, eq=False)
class Task:
    """What agents are trained on, and by which learner."""

    learner: Learner
    env: Any  # gymnax environment
    env_params: Any  # its params; `env.sample_params`, if there is one, draws each life's instance
    agent: Agent
    optimizer: optax.GradientTransformation
    num_envs: int = 64
    num_steps: int = 20
    reward_scale: float = 1.0  # of the rewards that the learner reads, not of those reported
    reward_centre: float = 0.0  # likewise, see `rewards_read`
    lag: int = 0  # updates by which the acting parameters are old
    least_limit: int = 1  # steps between two time limits

    @property
    def steps_per_update(self) -> int:
        """Environment steps of one life."""
        return self.learner.fresh * self.num_steps * self.num_envs


class Acting(NamedTuple):
    """What an actor has of a learner."""

    params: Any  # theta
    condition: Condition


def acting(learner: Learner, state: LearnerState) -> Acting:
    """What acts of a learner as it is."""
    return Acting(state.agent.params, learner.condition(state))


class Life(NamedTuple):
    """One agent's life; leaves have leading axis N in a batch of lives."""

    key: Array
    env_params: Any  # its own instance of the environment; () where there is just the task's
    action_mask: Bool[Array, "*N A"]
    hypers: Hypers
    learner: LearnerState
    rollout: RolloutState
    kept: tuple[Trajectory, ...]  # those that the learner reads once more
    lagging: tuple[Acting, ...]  # as many as the task's lag, oldest first; the oldest acts

    def instance(self, task: Task) -> Any:
        """The params of the environment that this life is in."""
        return self.env_params if has_instances(task.env) else task.env_params

    def body(self, task: Task) -> Body:
        """The task's agent in this life's world; of one life, as `policy`."""
        return Body(task.agent, self.action_mask)

    def beyond(self, task: Task) -> Beyond | None:
        """V, where the learner goes on beyond time limits."""
        if not bootstraps(task.learner):
            return None
        body = self.body(task)._replace(condition=task.learner.condition(self.learner))

        def value(seen: Array) -> Array:
            return body.outputs(self.learner.agent.params, seen).value[..., 0]

        return Beyond(value, task.least_limit)

    def policy(self, task: Task) -> Callable[[Array], Array]:
        """Observations to logits, by the agent as it is or, with a lag, was."""
        actor = self.lagging[0] if self.lagging else acting(task.learner, self.learner)
        body = self.body(task)._replace(condition=actor.condition)
        return lambda observation: body.outputs(actor.params, observation).logits


def born(task: Task, key: Array, hypers: Hypers) -> Life:
    """A newborn life, one that has only acted where its learner reads trajectories twice."""
    key, key_params, key_agent, key_start = jax.random.split(key, 4)
    env_params = sample_params(task.env, key_params, task.env_params)
    params = task.agent.init(key_agent, count_states(task.env, env_params))
    agent = AgentState(params, task.optimizer.init(params))
    life = Life(
        key=key,
        env_params=env_params if has_instances(task.env) else (),
        action_mask=action_mask(task.env, env_params),
        hypers=hypers,
        learner=task.learner.init(jax.random.fold_in(key_agent, 1), agent),
        rollout=start(key_start, task.env, env_params, task.num_envs),
        kept=(),
        lagging=(),
    )
    life = life._replace(lagging=(acting(task.learner, life.learner),) * task.lag)
    for _ in range(task.learner.num_trajectories - task.learner.fresh):
        life, trajectory, _ = act(task, life)
        life = life._replace(kept=(*life.kept, trajectory))
    return life


def update(task: Task, lives: Life) -> tuple[Life, EpisodeSummary]:
    """One agent update of every life, on rollouts of its own."""
    return jax.vmap(partial(_update, task))(lives)


def _update(task: Task, life: Life) -> tuple[Life, EpisodeSummary]:
    learner, trajectories = task.learner, [*life.kept]
    summaries, now, body = [], life.learner, life.body(task)
    for _ in range(learner.fresh):
        newest = trajectories[-1] if trajectories else None
        on = ahead(learner, body, task.optimizer, life.learner, newest, life.hypers)
        life, trajectory, summary = act(task, life._replace(learner=on))
        trajectories.append(trajectory)
        summaries.append(summary)
    lagging = (*life.lagging, acting(learner, now))[1:] if task.lag else ()
    state = learner.learn(body, task.optimizer, now, trajectories, life.hypers)
    kept = tuple(trajectories[learner.fresh :])
    life = life._replace(learner=state, kept=kept, lagging=lagging)
    return life, jax.tree.map(lambda *parts: sum(parts), *summaries)


def act(task: Task, life: Life) -> tuple[Life, Trajectory, EpisodeSummary]:
    """A rollout, with rewards as the learner is to read them."""
    key, key_rollout = jax.random.split(life.key)
    state, trajectory, summary = rollout(
        key_rollout,
        task.env,
        life.instance(task),
        life.policy(task),
        life.rollout,
        task.num_steps,
        life.beyond(task),
    )
    trajectory = trajectory._replace(reward=rewards_read(task, trajectory, life.hypers.gamma))
    return life._replace(key=key, rollout=state), trajectory, summary


def rewards_read(
    task: Task, trajectory: Trajectory, gamma: Float[Array, ""]
) -> Float[Array, "T B"]:
    """Rewards as the learner reads them: from the task's centre c, if it has one, then scaled.

    c is taken from each, and c / (1 - gamma) at an end, what c a step would come to for ever. That
    is shaping by the potential c / (1 - gamma), the same in all states (Ng et al. 1999): all values
    move by it, and no policy becomes better or worse than another. The unit is its size, so that
    steps which pay c are read as 0, and the end that they lead to as almost -1, for c < 0 as 1.
    """
    reward, c = trajectory.reward, task.reward_centre
    if c:
        per_step = 1 - gamma
        reward = jnp.where(trajectory.terminated, reward * per_step - c, (reward - c) * per_step)
        reward = reward / abs(c)
    return reward * task.reward_scale


def train(
    task: Task,
    key: Array,
    learning_rate: Float[np.ndarray, "N"],
    prediction_cost: Float[np.ndarray, "N"],
    gamma: float,
    num_updates: int,
    num_points: int = 50,
    on_progress: Callable[[int], None] = lambda updates: None,
    seeds: Int[np.ndarray, "N"] | None = None,
    saved: Saved | None = None,
    on_end: Callable[[Life], None] = lambda lives: None,
) -> Curve:
    """Train N fresh agents for `num_updates` updates each.

    Args:
        learning_rate, prediction_cost: alpha of each life.
        num_points: log points along the lives; everything between two is one program.
        on_progress: called with the number of updates done since the last call.
        seeds: lives of equal seed have equal worlds, agents and draws; 0 to N - 1 by default.
        saved: where lives are kept and taken up again; raises Stopped after a signal.
        on_end: called with the lives when they are over, before `saved` holds that they are.
    """
    if saved is not None and (found := saved.finished()) is not None:
        on_progress(num_updates)
        return found
    lives = _newborn(task, key, seeds, (learning_rate, prediction_cost, gamma))
    program = jax.jit(partial(run_updates, task), donate_argnums=0)
    trace = jax.jit(jax.vmap(task.learner.trace))
    lives, points = (lives, []) if saved is None else saved.restore(lives)
    done = sum(x.updates for x in points)
    on_progress(done)
    for length in list(_chunk_lengths(num_updates, num_points))[len(points) :]:
        lives, summary = program(lives, jnp.int32(length))
        told, traced = jax.device_get((summary, trace(lives.learner)))
        points.append(point(length, length * task.steps_per_update, told, traced))
        on_progress(length)
        done += length
        if saved is not None:
            saved.add(done, points[-1], lives, done == num_updates)
    on_end(lives)
    curve = as_curve(points, np.asarray(jax.vmap(has_diverged)(lives.learner)))
    if saved is not None:
        saved.finish(done, curve.diverged)
    return curve


def has_diverged(state: LearnerState) -> Bool[Array, ""]:
    """Whether parameters are no longer finite, from which no agent comes back."""
    return ~jnp.isfinite(optax.global_norm(state.agent.params))


def _newborn(
    task: Task, key: Array, seeds: np.ndarray | None, hypers: tuple[Any, Any, float]
) -> Life:
    seeds = np.arange(len(hypers[0])) if seeds is None else seeds
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.asarray(seeds))
    each = (jnp.broadcast_to(jnp.asarray(x, jnp.float32), seeds.shape) for x in hypers)
    return jax.jit(jax.vmap(partial(born, task)))(keys, Hypers(*each))


def run_updates(task: Task, lives: Life, num_updates: Array) -> tuple[Life, EpisodeSummary]:
    """`num_updates` updates (data, so that every chunk shares one program), summaries added up."""

    def step(_: Array | int, carry: tuple[Life, EpisodeSummary]) -> tuple[Life, EpisodeSummary]:
        lives, total = carry
        lives, summary = update(task, lives)
        return lives, jax.tree.map(jnp.add, total, summary)

    zero = EpisodeSummary(*(jnp.zeros(lives.hypers.gamma.shape, jnp.float32),) * 3)
    return jax.lax.fori_loop(0, num_updates, step, (lives, zero))


def _chunk_lengths(total: int, num_points: int) -> Iterator[int]:
    ends = np.unique(np.round(np.linspace(0, total, min(num_points, total) + 1)).astype(int))
    yield from (int(n) for n in np.diff(ends))
