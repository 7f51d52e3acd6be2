"""Births: newborns move in where lives ended, and nowhere else."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import TINY

from metatrain import bandit as bandits
from metatrain.cohort import build_cohorts
from metatrain.devices.mesh import make_mesh
from metatrain.lifetime import birth
from metatrain.window_end import EndedLives, replace_ended

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
