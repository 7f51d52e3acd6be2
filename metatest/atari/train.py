"""One agent on one Atari game under a frozen rule (Oh et al. 2020, B.2, Table 4, Eq. 7).

The learner hides behind the emulator: the update on a rollout is dispatched and runs while the next
rollout is being played. A rollout is therefore played by the parameters of one update ago; the rule
reads pi and y of the parameters that it updates, computed anew on the trajectory.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lpg.agent import Agent, AgentParams, Body
from lpg.agents.nature_network import AtariAgent
from lpg.optimizers import make_optimizer
from lpg.rollout import sample_action
from lpg.rule import Hypers, RuleParams, UpdateRule, rule_inputs
from lpg.trajectory import Trajectory
from lpg.update import AgentState, agent_step
from metatest.atari.env import FRAMES_PER_STEP, AtariEnv, AtariRollout, Episode

OPTIMIZER = make_optimizer("adam")


class AtariState(NamedTuple):
    """Everything of a run but the emulators, whose episodes start afresh on resuming."""

    agent: AgentState
    key: Array
    update: Int[Array, ""]  # agent updates done
    hypers: Hypers


@dataclass(frozen=True, eq=False)
class Learner:
    """Rule, agent and the two compiled programs: acting and learning."""

    rule: UpdateRule
    rule_params: RuleParams
    agent: Agent

    @property
    def body(self) -> Body:
        """A game's actions are all valid."""
        return Body(self.agent, jnp.ones((self.agent.heads.logits,), bool))

    @cached_property
    def act(self) -> Callable[..., Array]:
        return jax.jit(partial(_act, self))

    @cached_property
    def learn(self) -> Callable[..., AtariState]:
        return jax.jit(partial(_learn, self))


class Interval(NamedTuple):
    """What happened between two log lines."""

    updates: int
    seconds: float
    reward_per_step: float  # clipped
    episodes: list[Episode]


def make_learner(rule: UpdateRule, rule_params: RuleParams, num_actions: int) -> Learner:
    return Learner(rule, rule_params, AtariAgent(rule.heads(num_actions)))


def newborn(learner: Learner, seed: int, hypers: Hypers) -> AtariState:
    key, key_agent = jax.random.split(jax.random.key(seed))
    params = learner.agent.init(key_agent, jnp.int32(0))
    return AtariState(AgentState(params, OPTIMIZER.init(params)), key, jnp.int32(0), hypers)


def _act(learner: Learner, params: AgentParams, key: Array, screen: Array) -> Int[Array, "B"]:
    logits = learner.body.outputs(params, screen).logits
    return sample_action(logits, jax.random.uniform(key, (screen.shape[0],)))


def _learn(learner: Learner, state: AtariState, trajectory: Trajectory) -> AtariState:
    outputs = learner.body.outputs(state.agent.params, trajectory.observation)
    inputs = rule_inputs(outputs, trajectory, state.hypers.gamma)
    targets = learner.rule.targets(learner.rule_params, inputs)
    agent = agent_step(
        learner.rule, learner.body, OPTIMIZER, state.agent, trajectory, targets, state.hypers
    )
    return state._replace(agent=agent, update=state.update + 1)


class Player:
    """Chooses actions with the newest parameters that are ready when a rollout begins."""

    def __init__(self, learner: Learner, state: AtariState):
        self._act = learner.act
        self._params = state.agent.params
        self._key = jax.random.fold_in(state.key, state.update)
        self._calls = 0

    def follow(self, state: AtariState) -> None:
        self._params = state.agent.params
        self._key = jax.random.fold_in(state.key, state.update)
        self._calls = 0

    def __call__(self, screen: np.ndarray) -> np.ndarray:
        self._calls += 1
        key = jax.random.fold_in(self._key, self._calls)
        return np.asarray(self._act(self._params, key, screen))


def play_and_learn(
    learner: Learner,
    state: AtariState,
    env: AtariEnv,
    num_updates: int,
    num_steps: int,
) -> tuple[AtariState, Interval]:
    """`num_updates` rollouts and updates; the last update is waited for."""
    started = time.perf_counter()
    learn, player = learner.learn, Player(learner, state)
    rewards, episodes = [], []
    before = state  # whose parameters play: one update behind while the newest is in the making
    for _ in range(num_updates):
        player.follow(before)
        rollout = env.rollout(player, num_steps)
        rewards.append(rollout.reward.mean())
        episodes += rollout.episodes
        before = state
        state = learn(state, as_trajectory(rollout))
    state = jax.block_until_ready(state)
    seconds = time.perf_counter() - started
    return state, Interval(num_updates, seconds, float(np.mean(rewards)), episodes)


def as_trajectory(rollout: AtariRollout) -> Trajectory:
    return Trajectory(*(jnp.asarray(x) for x in rollout[:5]))


def frames(updates: int, num_envs: int, num_steps: int) -> int:
    """Emulator frames of an agent's `updates` updates."""
    return updates * num_envs * num_steps * FRAMES_PER_STEP


def hypers(learning_rate: float, kl_cost: float, gamma: float) -> Hypers:
    def scalar(x: float) -> Float[Array, ""]:
        return jnp.float32(x)

    return Hypers(scalar(learning_rate), scalar(kl_cost), scalar(gamma))
