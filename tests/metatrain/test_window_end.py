"""Lives that end, what the bandit hears of them, and newborns where they ended and nowhere else."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import TINY

from lpg.rollout import EpisodeSummary
from lpg.update import AgentState
from metatrain import bandit as bandits
from metatrain.cohort import build_cohorts
from metatrain.devices.mesh import make_mesh
from metatrain.lifetime import LifetimeState, birth
from metatrain.outer_objective import LossParts
from metatrain.window import CohortReport
from metatrain.window_end import EndedLives, Outcome, ended_lives, replace_ended, tell_bandit

LIVES = 48  # newborns come three at a time


@pytest.fixture(scope="module")
def births():
    """Two programs: lives made from keys, all of them; and newborns in place of the ended."""
    config = replace(TINY, envs=("short",), lifetimes=LIVES)
    (cohort,) = cohorts = build_cohorts(config.rule, config)
    bandit = bandits.init(1, len(cohort.prediction_costs))
    mesh = make_mesh(cohorts, jax.devices()[:1])

    def make(keys):
        born = partial(birth, cohort, config, bandit)
        return jax.vmap(lambda key, earns: born(key, jnp.int32(0), earns))(keys, cohort.earns)

    def move_in(old, ended, keys):
        lives = EndedLives(ended, ended, jnp.zeros(LIVES))
        return replace_ended(cohort, config, bandit, old, lives, keys)

    shards = jax.shard_map(move_in, mesh=mesh, in_specs=jax.P(), out_specs=jax.P(), check_vma=False)
    return jax.jit(make), jax.jit(shards)


@pytest.mark.parametrize(
    "ended", [(), (0,), (47,), (3, 4, 5), (0, 1, 7, 20, 21, 46, 47), range(48)]
)
def test_newborns_take_the_slots_of_the_ended(births, ended):
    make, replace_those = births
    old_keys, new_keys = jax.random.split(jax.random.key(0), (2, LIVES))
    old, new = make(old_keys), make(new_keys)
    mask = np.isin(np.arange(LIVES), list(ended))
    after = replace_those(old, jnp.asarray(mask), new_keys)
    for was, fresh, got in zip(*map(jax.tree.leaves, (old, new, after)), strict=True):
        take = mask.reshape((-1, *[1] * (was.ndim - 1)))
        np.testing.assert_array_equal(np.where(take, fresh, was), got)


class World(NamedTuple):
    """As much of an environment's parameters as a life's end asks for."""

    max_steps_in_episode: jax.Array


def lives_of_length_20(ages, weights, entropies, episodes):
    """Lives and their report: as many windows old, with these parameters and entropies."""
    count = len(ages)
    nothing = EpisodeSummary(*(jnp.zeros(count),) * 3)
    lives = LifetimeState(**dict.fromkeys(LifetimeState._fields))._replace(
        age=jnp.array(ages),
        duration=jnp.full(count, 20),
        agent=AgentState({"w": jnp.array(weights)}, None),
        late=nothing,
        env_params=World(jnp.full(count, 50)),
    )
    loss = LossParts(None, None, jnp.array(entropies), None, {})
    return lives, CohortReport(loss, nothing._replace(**episodes))


def test_lives_end_by_age_or_by_the_guard():
    """20 windows are a life; 1e-4 nats are the least. A return that is not finite is none."""
    lives, report = lives_of_length_20(
        ages=[19, 20, 21, 3, 3, 3],
        weights=[1.0, 1.0, 1.0, 1.0, np.nan, 1.0],
        entropies=[0.5, 0.5, 0.5, 0.9e-4, 0.5, 0.5],
        episodes={"return_sum": jnp.array([0.0, 0, 0, 6, np.nan, 3]), "count": jnp.full(6, 2.0)},
    )
    found = ended_lives(TINY, lives, report)
    np.testing.assert_array_equal(found.ended, [False, True, True, True, True, False])
    np.testing.assert_array_equal(found.deterministic, [False, False, False, True, True, False])
    np.testing.assert_array_equal(found.final_return[3:], [3.0, 0.0, 1.5])


def test_the_bandit_hears_normalised_returns_of_whole_lives_that_earn():
    """In a world whose returns are 2 by chance and 6 at best, and in one of -1 and 0."""
    config = replace(TINY, envs=("short", "long"), lifetimes=10)
    (cohort,) = build_cohorts(config.rule, config)
    cohort = replace(cohort, random_return=np.array([2.0, -1.0]), best_return=np.array([6.0, 0.0]))
    # The third of the first world goes on, the fifth was born in mid-life; two of the second's go
    # on, the last earns nothing. Whom the guard ends counts.
    go_on, guard, unearned = [2, 7, 8], [3], [9]
    slots = np.arange(10)
    outcome = Outcome(**dict.fromkeys(Outcome._fields))._replace(
        lives=EndedLives(
            ended=jnp.asarray(~np.isin(slots, go_on)),
            deterministic=jnp.asarray(np.isin(slots, guard)),
            final_return=jnp.array([3.0, 8, 5, 5, 5, -0.25, -9, 0, 0, 0]),
        ),
        arm=jnp.array([0, 1, 0, 0, 0, 1, 2, 0, 0, 0]),
        scored=jnp.asarray(~np.isin(slots, [3, 4])),
        earns=jnp.asarray(~np.isin(slots, unearned)),
    )
    told = tell_bandit(cohort, bandits.init(2, len(cohort.prediction_costs)), outcome)
    np.testing.assert_array_equal(told.count[:, :3], [[2, 1, 0], [0, 1, 1]])
    assert told.count.sum() == 5
    np.testing.assert_allclose(told.recent[0, 0, :2], [0.25, 0.75])
    np.testing.assert_allclose(told.recent[0, 1, 0], 1.0)
    np.testing.assert_allclose(told.recent[1, 1:3, 0], [0.75, 0.0])
