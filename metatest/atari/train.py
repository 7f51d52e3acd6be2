"""One agent on one Atari game under a learner (Oh et al. 2020, B.2, Table 4, Eq. 7).

The learner hides behind the emulator: the update on a rollout is dispatched and runs while the next
rollout is being played. A rollout is therefore played by the parameters of one update ago, or of
more where the algorithm's lag says so; a rule reads pi and y of the parameters that it updates,
computed anew on the trajectory. A learner that acts between its inner updates is waited for.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from lpg.agent import Agent, Body
from lpg.agents.impala_resnet import ResNetAgent
from lpg.agents.nature_network import AtariAgent
from lpg.heads import action_log_prob
from lpg.learner import Learner, LearnerState, ahead, looks_ahead
from lpg.optimizers import make_optimizer
from lpg.platform import cores, platform, traced_for
from lpg.rollout import sample_action
from lpg.rule import Hypers
from lpg.trajectory import Trajectory
from lpg.update import AgentState
from metatest.atari.env import AtariEnv, AtariRollout, Episode
from metatest.train_agent import Acting, acting
from metatest.training import PUBLISHED_ATARI, AtariTraining

# From as many on acting takes less of a step there than an accelerator's answers, 2 ms each, even
# where the emulator needs the cores as well (scripts/bench_atari.py counts: from 7).
HOST_CORES = 8
TORSOS = {"nature": AtariAgent, "resnet": ResNetAgent}


class AtariState(NamedTuple):
    """Everything of a run but the emulators, whose episodes start afresh on resuming."""

    learner: LearnerState
    lagging: tuple[Acting, ...]  # what acts in the updates to come, oldest first
    key: Array
    update: Int[Array, ""]  # agent updates done
    hypers: Hypers
    kept: tuple[Trajectory, ...] = ()  # that the learner reads once more; played anew on resuming


@dataclass(frozen=True, eq=False)
class Programs:
    """Learner and agent, and what is compiled of them: acting and learning."""

    learner: Learner
    agent: Agent
    optimizer: optax.GradientTransformation = field(default_factory=lambda: make_optimizer("adam"))
    lag: int = 1  # updates by which acting parameters are old
    host: jax.Device | None = None  # that acts, where it is not the learner's device

    @property
    def body(self) -> Body:
        """A game's actions are all valid."""
        return Body(self.agent, jnp.ones((self.agent.heads.logits,), bool))

    @cached_property
    def act(self) -> Callable[..., tuple[Array, Array]]:
        """Compiled: who acts, a key and screens [B, 4, 84, 84] to actions i32 [B] and their
        log-probabilities."""
        act = partial(_act, self)
        return jax.jit(act if self.host is None else traced_for(self.host.platform, act))

    @cached_property
    def ahead(self) -> Callable[..., LearnerState]:
        """Compiled: a learner's state, its newest trajectory and hypers to the state that acts
        next, of a learner that acts between its inner updates."""
        return jax.jit(partial(ahead, self.learner, self.body, self.optimizer))

    @cached_property
    def learn(self) -> Callable[..., AtariState]:
        """Compiled: a state and the learner's trajectories to the state one update later."""
        return jax.jit(partial(_learn, self))


class Interval(NamedTuple):
    """What happened between two log lines."""

    updates: int
    seconds: float
    reward_per_step: float  # clipped
    episodes: list[Episode]


def make_programs(
    learner: Learner,
    num_actions: int,
    training: AtariTraining = PUBLISHED_ATARI,
    num_updates: int = 1,
    lag: int = 1,
) -> Programs:
    """The learner, an agent that has the heads it asks for, and an optimiser for a whole life."""
    agent = TORSOS[training.torso](learner.heads(num_actions))
    host = acting_host(training)
    return Programs(learner, agent, training.optimizer(num_updates), lag, host)


def acting_host(training: AtariTraining) -> jax.Device | None:
    """The CPU beside an accelerator, where it acts on screens before that could answer; None for
    the learner's own device. For the small network alone, and whatever else the machine does, so
    that one machine always acts alike."""
    if training.torso != "nature" or platform() == "cpu" or cores() < HOST_CORES:
        return None
    with suppress(RuntimeError):  # JAX was told to do without it
        return jax.local_devices(backend="cpu")[0]
    return None


def newborn(programs: Programs, seed: int, hypers: Hypers) -> AtariState:
    """A run before its first update; `seed` decides all its draws but the games' own."""
    key, key_agent = jax.random.split(jax.random.key(seed))
    params = programs.agent.init(key_agent, jnp.int32(0))
    agent = AgentState(params, programs.optimizer.init(params))
    learner = programs.learner.init(jax.random.fold_in(key_agent, 1), agent)
    lagging = (acting(programs.learner, learner),) * programs.lag
    return AtariState(learner, lagging, key, jnp.int32(0), hypers)


def _act(
    programs: Programs, actor: Acting, key: Array, screen: Array
) -> tuple[Int[Array, "B"], Float[Array, "B"]]:
    """Actions and their log-probabilities."""
    body = programs.body._replace(condition=actor.condition)
    logits = body.outputs(actor.params, screen).logits
    action = sample_action(logits, jax.random.uniform(key, (screen.shape[0],)))
    return action, action_log_prob(logits, action)


def _learn(programs: Programs, state: AtariState, trajectories: Sequence[Trajectory]) -> AtariState:
    """From all that the learner reads, oldest first; those after the oldest are kept."""
    lagging = (*state.lagging, acting(programs.learner, state.learner))[1:]
    learner = programs.learner.learn(
        programs.body, programs.optimizer, state.learner, trajectories, state.hypers
    )
    kept = tuple(trajectories[programs.learner.fresh :])
    return state._replace(learner=learner, lagging=lagging, kept=kept, update=state.update + 1)


class Player:
    """Chooses actions with the oldest parameters that a state has, which are ready while the update
    that made the state is still being computed; a host that acts fetches them once a rollout."""

    def __init__(self, programs: Programs, state: AtariState):
        self._act, self._host = programs.act, programs.host
        self._run_key = self._there(state.key)
        self.follow(state, int(state.update))

    def follow(self, state: AtariState, update: int) -> None:
        """Act for `state` from here on, with draws that go with its `update`: that number and the
        run's key are asked of nothing that is still being computed."""
        self._actor = self._there(state.lagging[0])
        with self._place():
            self._key = jax.random.fold_in(self._run_key, update)
        self._calls = 0

    def turn_to(self, actor: Acting) -> None:
        """Act by `actor` up to the next update, and go on with the draws."""
        self._actor = self._there(actor)

    def __call__(self, screen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._calls += 1
        with self._place():
            key = jax.random.fold_in(self._key, self._calls)
            return jax.device_get(self._act(self._actor, key, screen))  # both at once

    def _place(self) -> AbstractContextManager[Any]:
        """Where numbers become arrays, which would be fetched from the accelerator else."""
        return nullcontext() if self._host is None else jax.default_device(self._host)

    def _there(self, x: Any) -> Any:
        return x if self._host is None else jax.device_put(x, self._host)


def play_and_learn(
    programs: Programs,
    state: AtariState,
    env: AtariEnv,
    num_updates: int,
    num_steps: int,
    stop: Sequence[int] = (),
) -> tuple[AtariState, Interval]:
    """`num_updates` rollouts and updates, or those until there is something in `stop`, at least
    one; the last update is waited for."""
    started = time.perf_counter()
    player, first = Player(programs, state), int(state.update)
    rewards, episodes, update = [], [], first
    for update in range(first, first + num_updates):
        player.follow(state, update)
        trajectories, on = list(state.kept), state.learner
        while len(trajectories) < programs.learner.num_trajectories:
            if looks_ahead(programs.learner):
                if trajectories:
                    on = programs.ahead(on, trajectories[-1], state.hypers)
                player.turn_to(acting(programs.learner, on))
            rollout = env.rollout(player, num_steps)
            rewards.append(rollout.reward.mean())
            episodes += rollout.episodes
            trajectories.append(as_trajectory(rollout))
        state = programs.learn(state._replace(kept=()), trajectories)
        if stop:
            break
    state = jax.block_until_ready(state)
    seconds = time.perf_counter() - started
    return state, Interval(update + 1 - first, seconds, float(np.mean(rewards)), episodes)


def as_trajectory(rollout: AtariRollout) -> Trajectory:
    """The rollout on JAX's default device, without the episodes that ended."""
    return Trajectory(*(jnp.asarray(x) for x in rollout[:6]))


def hypers(learning_rate: float, prediction_cost: float | None, gamma: float) -> Hypers:
    """One life's, as float32 scalars; nothing reads an alpha_y that there is not."""

    def scalar(x: float) -> Float[Array, ""]:
        return jnp.float32(x)

    return Hypers(scalar(learning_rate), scalar(prediction_cost or 0.0), scalar(gamma))
