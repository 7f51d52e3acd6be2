"""Lives of fresh agents that show what a rule does with its predictions, and without reward."""

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from envs.suite import SUITE, ChainSpec
from lpg.agent import Body
from lpg.heads import AgentOutputs, entropy
from lpg.learner import FrozenRule, LearnerState
from lpg.rollout import EpisodeSummary, rollout
from lpg.rule import Hypers, RuleInputs, RuleParams
from lpg.trajectory import Trajectory
from lpg.update import AgentState
from metatest.algorithms import Algorithm
from metatest.evaluate import Budget, make_task
from metatest.probe.protocol import (
    CHUNKS,
    GAMMA,
    HORIZON,
    INTACT,
    Y_CUT,
    Arm,
    Group,
    ProbeProtocol,
)
from metatest.probe.results import ChainLives, Estimate, RewardFree
from metatest.tasks import find_task
from metatest.train_agent import Life, Task, born, run_updates

WRONG = 0.01  # a life that takes a right first action more rarely has collapsed
LOOK_STEPS = 100  # of every look at what an agent does: twice the longest chain

OnProgress = Callable[[int], None]  # told how many updates were done, lives added up


class CutPrediction(FrozenRule):
    """A frozen rule that reads a uniform y in lives where it is cut; all else is unchanged.

    What a life carries, `own`, is whether its y is read.
    """

    def init(self, key: Array, agent: AgentState) -> LearnerState:
        """A newborn life reads its y, until it is told otherwise."""
        return super().init(key, agent)._replace(own=jnp.array(True))

    def inputs(
        self, body: Body, state: LearnerState, trajectory: Trajectory, gamma: Float[Array, ""]
    ) -> RuleInputs:
        """As a frozen rule's, with y's logits zero in lives where y is cut."""
        inputs = super().inputs(body, state, trajectory, gamma)
        return inputs._replace(prediction=jnp.where(state.own, inputs.prediction, 0.0))


def has_predictions(probed: FrozenRule) -> bool:
    """Only then is anything cut.

    A rule with values instead (`lpg_v`) is left intact: its value is nothing that it discovered,
    and a value of zero says something, as a uniform y does not.
    """
    return probed.heads(1).prediction > 0


def chain_lengths(shortest: int, longest: int, num_lives: int) -> Int[np.ndarray, "N"]:
    """Quantiles of the uniform range that the environment draws a life's chain length from.

    So that short and long chains have the shares of the lives that they have in the environment,
    whatever the seed, and every rule and variant meets the same chains.
    """
    quantiles = (np.arange(num_lives) + 0.5) / num_lives
    return (shortest + np.floor((longest - shortest + 1) * quantiles)).astype(np.int32)


def live_on_chains(
    probed: FrozenRule, protocol: ProbeProtocol, key: Array, on_progress: OnProgress
) -> list[ChainLives]:
    """All groups of lives on `long` in one batch."""
    groups, spec = protocol.chain_groups(has_predictions(probed)), SUITE["long"].spec
    assert isinstance(spec, ChainSpec)
    task = _task(_cut(probed), "long", protocol)
    lengths = [chain_lengths(spec.min_length, spec.max_length, group.lives) for group in groups]

    @jax.jit
    @jax.vmap
    def begin(key: Array, length: Array, hypers: Hypers) -> Life:
        params = dataclasses.replace(task.env_params, min_length=length, max_length=length)
        return born(replace(task, env_params=params), key, hypers)

    lives = begin(_keys(key, groups), np.concatenate(lengths), _hypers(groups))
    lives = _told_what_to_read(lives, groups)
    lives, summary = live(task, lives, protocol.updates, on_progress)
    ended = jax.device_get(jax.jit(jax.vmap(partial(end, task)))(lives))
    values = (late_return(summary), collapsed(ended.right), ended.information)
    own = zip(lengths, *(_split(x, groups) for x in values), strict=True)
    return [ChainLives(*group[:3], *parts) for group, parts in zip(groups, own, strict=True)]


def live_on_sparse(
    probed: FrozenRule, protocol: ProbeProtocol, key: Array, on_progress: OnProgress
) -> dict[str, Estimate]:
    """Late return on `sparse`, whose reward ends the episode, by variant."""
    groups = protocol.sparse_groups(has_predictions(probed))
    task = _task(_cut(probed), "sparse", protocol)
    lives = _begin(task, key, groups)
    returns = late_return(live(task, lives, protocol.sparse_updates, on_progress)[1])
    own = _split(returns, groups)
    return {group.variant: Estimate.of(x) for group, x in zip(groups, own, strict=True)}


def live_without_reward(
    probed: FrozenRule,
    env: str,
    arm: Arm,
    protocol: ProbeProtocol,
    key: Array,
    on_progress: OnProgress,
) -> RewardFree:
    """The policy's entropy over lives in which the rule reads rewards of zero."""
    task = replace(_task(_cut(probed), env, protocol), reward_scale=0.0)
    lives = _begin(task, key, [Group(INTACT, *arm, protocol.reward_free_lives)])

    @jax.jit
    @jax.vmap
    def policy_entropy(life: Life) -> Array:
        return jnp.mean(entropy(look(task, life).logits))

    found = [np.asarray(policy_entropy(lives))]

    def after_chunk(lives: Life) -> None:
        found.append(np.asarray(policy_entropy(lives)))

    num_updates = protocol.reward_free_updates
    live(task, lives, num_updates, on_progress, after_chunk)
    return RewardFree(np.linspace(0, num_updates, CHUNKS + 1).astype(int), np.stack(found))


def live(
    task: Task,
    lives: Life,
    num_updates: int,
    on_progress: OnProgress,
    after_chunk: Callable[[Life], None] = lambda lives: None,
) -> tuple[Life, EpisodeSummary]:
    """Whole lives; the summary is the last tenth's."""
    probed = task.learner
    assert isinstance(probed, FrozenRule)

    @jax.jit
    def program(
        rule_params: RuleParams, lives: Life, num_updates: Array
    ) -> tuple[Life, EpisodeSummary]:
        # The rule is an argument, so that all rules of one architecture share what is compiled.
        learner = replace(probed, rule_params=rule_params)
        return run_updates(replace(task, learner=learner), lives, num_updates)

    length = num_updates // CHUNKS
    summary = None
    for _ in range(CHUNKS):
        lives, summary = program(probed.rule_params, lives, jnp.int32(length))
        after_chunk(jax.block_until_ready(lives))
        on_progress(length * len(lives.hypers.gamma))
    assert summary is not None
    return lives, jax.device_get(summary)


def late_return(summary: EpisodeSummary) -> Float[np.ndarray, "N"]:
    """Mean over the episodes that ended; NaN where none did."""
    total, count = np.asarray(summary.return_sum), np.asarray(summary.count)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def collapsed(right: Float[np.ndarray, "N 2"]) -> Bool[np.ndarray, "N"]:
    """Lives that never take the right first action any more in one of the two start states."""
    return np.min(right, axis=-1) < WRONG


class Ended(NamedTuple):
    """What is left of a life on `long`."""

    right: Float[Array, "*N 2"]  # P(correct action) at the start states
    information: Float[Array, "*N"]  # ln m - mean H(y) on the states visited; NaN where m = 0


def end(task: Task, life: Life) -> Ended:
    """By one life's agent as it is, on its chain's start states and on those it visits next."""
    starts = jnp.arange(2) * (2 * life.env_params.length - 1)  # see DelayedChain.observe
    outputs = life.body(task).outputs(life.learner.agent.params, starts)
    information = jnp.float32(jnp.nan)
    if m := task.agent.heads.prediction:
        information = np.log(m) - jnp.mean(entropy(look(task, life).prediction))
    return Ended(jnp.diagonal(jax.nn.softmax(outputs.logits)), information)


def look(task: Task, life: Life) -> AgentOutputs:
    """The agent's outputs on the LOOK_STEPS states that it visits next, if it stays as it is."""
    key = jax.random.fold_in(life.key, LOOK_STEPS)  # the life itself goes on with its key
    _, trajectory, _ = rollout(
        key, task.env, life.instance(task), life.policy(task), life.rollout, LOOK_STEPS
    )
    return life.body(task).outputs(life.learner.agent.params, trajectory.observation)


def _task(probed: CutPrediction, env: str, protocol: ProbeProtocol) -> Task:
    budget = Budget(num_envs=protocol.num_envs, num_steps=HORIZON)
    return make_task(Algorithm("probed", probed), find_task(env), budget)


def _cut(probed: FrozenRule) -> CutPrediction:
    return CutPrediction(probed.rule, probed.rule_params)


def _begin(task: Task, key: Array, groups: list[Group]) -> Life:
    lives = jax.jit(jax.vmap(partial(born, task)))(_keys(key, groups), _hypers(groups))
    return _told_what_to_read(lives, groups)


def _told_what_to_read(lives: Life, groups: list[Group]) -> Life:
    reads_y = np.repeat([x.variant != Y_CUT for x in groups], [x.lives for x in groups])
    return lives._replace(learner=lives.learner._replace(own=jnp.asarray(reads_y)))


def _keys(key: Array, groups: list[Group]) -> Array:
    """Equal keys for lives of equal place in their groups."""
    places = np.concatenate([np.arange(group.lives) for group in groups])
    return jax.vmap(partial(jax.random.fold_in, key))(places)


def _hypers(groups: list[Group]) -> Hypers:
    arms = np.array([(group.learning_rate, group.prediction_cost) for group in groups], np.float32)
    rates, costs = jnp.asarray(np.repeat(arms, [group.lives for group in groups], axis=0)).T
    return Hypers(rates, costs, jnp.full_like(rates, GAMMA))


def _split(values: np.ndarray, groups: list[Group]) -> list[np.ndarray]:
    return np.split(values, np.cumsum([group.lives for group in groups])[:-1])
