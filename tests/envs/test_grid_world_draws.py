"""Random draws of the grid worlds with fixed keys: frequencies, uniformity and independence.

Every count comes from 20,000 environments. Binomial counts are held to 4.5 standard deviations
(two-sided false-alarm rate 6.8e-6 a comparison), chi-square tests to a p-value above 1e-6; about
250 comparisons make a false alarm in all of less than 0.2 % for a fresh set of keys.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from grid_harness import (
    BATCH,
    MOSTLY_SLOW,
    assert_frequency,
    assert_uniform,
    harness,
    make_state,
    random_cells,
)
from numpy_models import GRIDS, RANDOM, TABULAR

STAY, NINE = jnp.full((BATCH,), 4, jnp.int32), jnp.full((BATCH,), 9, jnp.int32)


def collect_one(name: str, others_present: bool, key: int, params=None):
    """Stay on object i % n in environment i; returns chosen, cells, the state after, terminated."""
    h, count = harness(name), len(GRIDS[name].objects)
    cells = random_cells(np.random.default_rng(key), name, BATCH, count)
    chosen = np.arange(BATCH) % count
    present = np.full((BATCH, count), others_present)
    present[np.arange(BATCH), chosen] = True
    state = make_state(cells[np.arange(BATCH), chosen], cells, present)
    _, after, _, terminated = h.step(params or h.params, jax.random.key(key), state, STAY, NINE)
    return chosen, cells, jax.device_get(after), np.asarray(terminated)


@pytest.mark.parametrize("name", GRIDS)
def test_termination_and_respawn_frequencies(name):
    chosen, _, after, terminated = collect_one(name, others_present=False, key=20)
    for i, (_, p_terminate, p_respawn, _) in enumerate(GRIDS[name].objects):
        mine = chosen == i
        assert_frequency(terminated[mine].sum(), mine.sum(), p_terminate, f"{name} {i} ends")
        assert not after.present[mine, i].any()  # collected just now, back next step at best
        if (~mine).any():
            back = after.present[~mine, i]
            assert_frequency(back.sum(), back.size, p_respawn, f"{name} {i} comes back")


@pytest.mark.parametrize("name", MOSTLY_SLOW)
def test_draws_of_one_step_are_independent_of_each_other(name):
    """With every probability 1/2, all 2^n patterns of (ended, objects back) are equally likely."""
    count = len(GRIDS[name].objects)
    half = jnp.full((count,), 0.5, jnp.float32)
    params = harness(name).params.replace(p_terminate=half, p_respawn=half)
    chosen, _, after, terminated = collect_one(name, False, 21, params)
    back = np.stack([np.delete(row, i) for row, i in zip(after.present, chosen, strict=True)])
    pattern = terminated + (back << np.arange(1, count)).sum(axis=1)
    assert_uniform(pattern, list(range(2**count)), name)


@pytest.mark.parametrize("name", GRIDS)
def test_nothing_ends_an_episode_or_comes_back_without_cause(name):
    """A step that collects nothing, with all objects present."""
    h, count = harness(name), len(GRIDS[name].objects)
    cells = random_cells(np.random.default_rng(22), name, BATCH, count + 1)
    state = make_state(cells[:, count], cells[:, :count], np.ones((BATCH, count)))
    _, after, reward, terminated = h.step(h.params, jax.random.key(22), state, STAY, NINE)
    assert not np.any(terminated) and not np.any(reward) and np.all(after.present)
    np.testing.assert_array_equal(after.object_cell, cells[:, :count])


@pytest.mark.parametrize("name", RANDOM)
def test_respawned_objects_land_uniformly_on_cells_free_of_agent_objects_and_walls(name):
    grid, h = GRIDS[name], harness(name)
    count = len(grid.objects)
    params = h.params.replace(p_respawn=jnp.ones((count,), jnp.float32))
    cells = random_cells(np.random.default_rng(23), name, 1, count + 1)[0]
    agent, staying = cells[count], cells[0]
    # All but object 0 come back (the only object of a world with one does).
    present = np.zeros((BATCH, count), bool)
    present[:, 0] = count > 1
    state = make_state(np.full(BATCH, agent), np.tile(cells[:count], (BATCH, 1)), present)
    _, after, _, _ = h.step(params, jax.random.key(24), state, STAY, NINE)
    after = jax.device_get(after)
    assert after.present.all() and (after.agent_cell == agent).all()
    assert all(len(set(row)) == count for row in after.object_cell.tolist())
    blocked = {agent, staying} if count > 1 else {agent}
    support = [cell for cell in grid.free_cells() if cell not in blocked]
    for i in range(1 if count > 1 else 0, count):
        assert_uniform(after.object_cell[:, i], support, f"{name} object {i}")
    if count > 1:
        assert (after.object_cell[:, 0] == staying).all()


@pytest.mark.parametrize("name", MOSTLY_SLOW)
def test_reset_draws_the_start_and_in_random_worlds_the_objects(name):
    grid, h = GRIDS[name], harness(name)
    count, free = len(grid.objects), grid.free_cells()
    params = h.sample(h.params, jax.random.key(25))
    params = jax.tree.map(lambda leaf: leaf[0], params)
    _, state = jax.device_get(h.reset(params, jax.random.key(26)))
    assert state.present.all() and (state.time == 0).all()
    assert_uniform(state.agent_cell, free, f"{name} start")
    if grid.kind == "tabular":
        assert (state.object_cell == np.asarray(params.object_cell)).all()
        return
    together = np.concatenate([state.agent_cell[:, None], state.object_cell], axis=1)
    assert all(len(set(row)) == 1 + count for row in together.tolist())
    for i in range(count):
        assert_uniform(state.object_cell[:, i], free, f"{name} object {i}")


@pytest.mark.parametrize("name", GRIDS)
def test_a_lifetime_draws_its_action_set_and_in_tabular_worlds_its_cells(name):
    grid, h = GRIDS[name], harness(name)
    params = jax.device_get(h.sample(h.params, jax.random.key(27)))
    assert set(np.unique(params.num_actions)) == {9, 18}
    assert_frequency((params.num_actions == 9).sum(), BATCH, 0.5, f"{name} action set")
    if name not in TABULAR:
        return
    assert all(len(set(row)) == len(grid.objects) for row in params.object_cell.tolist())
    for i in range(len(grid.objects)):
        assert_uniform(params.object_cell[:, i], grid.free_cells(), f"{name} object {i}")
