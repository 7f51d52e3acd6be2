"""Lives that are paid a constant with each reward: nothing else of them is other than it was."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import TINY

from metatrain import bandit as bandits
from metatrain.cohort import build_cohorts
from metatrain.lifetime import birth
from metatrain.window import act

OFFSETS = (0.5, -2.0)
# Trajectories of 40 steps, in which every chain comes to its end.
CONFIG = replace(TINY, envs=("short",), lifetimes=12, num_steps=40, reward_free_share=0.25)


def lived(config):
    """Twelve newborns, the trajectory after their first, and its episodes."""
    (cohort,) = build_cohorts(config.rule, config)
    keys = jax.random.split(jax.random.key(0), cohort.num_lifetimes)
    bandit = bandits.init(1, len(cohort.prediction_costs))

    def live(key, earns):
        newborn = birth(cohort, config, bandit, key, jnp.int32(0), earns)
        _, *later = act(
            cohort, config, newborn, newborn.agent, newborn.critic, newborn.rollout, key
        )
        return newborn, *later

    return jax.jit(jax.vmap(live))(keys, jnp.asarray(cohort.earns))


@pytest.fixture(scope="module")
def plain():
    return lived(CONFIG)


@pytest.fixture(scope="module")
def paid():
    return lived(replace(CONFIG, reward_offsets=OFFSETS))


def test_every_reward_of_a_life_that_earns_has_the_lifes_constant(plain, paid):
    offset = np.asarray(paid[0].reward_offset)
    assert set(offset) == set(np.float32(OFFSETS))
    offset = np.where(paid[0].earns, offset, 0.0)
    assert np.count_nonzero(offset) == 9
    for before, after in zip(trajectories(plain), trajectories(paid), strict=True):
        np.testing.assert_array_equal(after.action, before.action)
        np.testing.assert_allclose(after.reward, before.reward + offset[:, None, None], rtol=1e-6)


def test_returns_are_counted_without_it(plain, paid):
    assert np.asarray(plain[2].count).sum() > 0
    jax.tree.map(np.testing.assert_array_equal, plain[2], paid[2])


def test_without_constants_no_state_has_a_place_for_them(plain):
    """So that checkpoints of runs without are as they always were."""
    assert plain[0].reward_offset is None


def trajectories(lives):
    newborn, later, _ = lives
    return newborn.trajectory, later
