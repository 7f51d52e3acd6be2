"""Grid worlds against the NumPy models: transitions, state indices, and the gymnax interface."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from grid_harness import BATCH, MOSTLY_SLOW, harness, make_state, random_cells
from numpy_models import (
    GRIDS,
    TABLE_SIZES,
    TABULAR,
    grid_outcome,
    planes,
    tabular_index,
)

from envs.suite import SUITE, make, stack

CHECKED = 7_000  # cases compared one by one, enough for every cell and action of any world


def cases(name: str, rng: np.random.Generator):
    """Every free cell x 18 actions x both action sets, over and over, with random objects.

    In half of the cases an object lies within the agent's reach.
    """
    grid = GRIDS[name]
    num_objects = len(grid.objects)
    grids = np.meshgrid(grid.free_cells(), np.arange(18), (9, 18), indexing="ij")
    agent, action, num_actions = (np.resize(part.ravel(), BATCH) for part in grids)
    cells = random_cells(rng, name, BATCH, num_objects)
    for i in np.flatnonzero(rng.random(CHECKED) < 0.5):
        row, column = divmod(agent[i], grid.width)
        near_row, near_column = row + rng.integers(-1, 2), column + rng.integers(-1, 2)
        near = near_row * grid.width + near_column
        if grid.is_free(near_row, near_column) and near not in cells[i]:
            cells[i, rng.integers(num_objects)] = near
    present = rng.random((BATCH, num_objects)) < 0.6
    return agent, cells, present, action, num_actions


@pytest.mark.parametrize("name", GRIDS)
def test_every_action_from_every_cell_equals_the_numpy_model(name):
    grid, h = GRIDS[name], harness(name)
    agent, cells, present, action, num_actions = cases(name, np.random.default_rng(1))
    observation, after, reward, terminated = jax.device_get(
        h.step(
            h.params,
            jax.random.key(2),
            make_state(agent, cells, present, time=7),
            jnp.asarray(action, jnp.int32),
            jnp.asarray(num_actions, jnp.int32),
        )
    )
    collections = 0
    p_respawn = np.array([p for _, _, p, _ in grid.objects])
    assert 36 * len(grid.free_cells()) < CHECKED
    for i in range(CHECKED):
        want = grid_outcome(
            grid, agent[i], cells[i].tolist(), present[i].tolist(), action[i], num_actions[i]
        )
        case = f"{name} case {i}: cell {agent[i]} action {action[i]} of {num_actions[i]}"
        assert after.agent_cell[i] == want.agent, case
        assert reward[i] == want.reward, case
        survives = present[i].copy()
        p_terminate = 0.0
        if want.collected >= 0:
            collections += 1
            survives[want.collected] = False
            p_terminate = grid.objects[want.collected][1]
        assert p_terminate not in (0.0, 1.0) or terminated[i] == (p_terminate == 1.0), case
        was_absent = ~present[i]
        assert np.all(after.present[i] >= (survives | (was_absent & (p_respawn == 1)))), case
        assert np.all(after.present[i] <= (survives | (was_absent & (p_respawn > 0)))), case
        still = ~(was_absent & after.present[i]) | (grid.kind == "tabular")
        assert np.all(after.object_cell[i][still] == cells[i][still]), case
        shown = (after.object_cell[i].tolist(), after.present[i].tolist())
        if grid.kind == "tabular":
            assert observation[i] == tabular_index(want.agent, shown[1]), case
        else:
            np.testing.assert_array_equal(observation[i], planes(grid, want.agent, *shown), case)
    assert np.all(after.time == 8)
    assert observation.dtype == (np.int32 if grid.kind == "tabular" else np.uint8)
    assert collections > CHECKED // 100  # the cases do exercise collecting


@pytest.mark.parametrize("name", TABULAR)
def test_state_indices_do_not_alias_and_fill_the_published_table(name):
    grid = GRIDS[name]
    env, params = make(name)
    num_objects = len(grid.objects)
    agent, pattern = np.meshgrid(
        np.arange(grid.height * grid.width), np.arange(2**num_objects), indexing="ij"
    )
    agent, pattern = agent.ravel(), pattern.ravel()
    present = (pattern[:, None] >> np.arange(num_objects)) & 1
    state = make_state(agent, np.zeros_like(present), present)
    index = np.asarray(harness(name).observe(params, state))
    size = TABLE_SIZES[name]
    assert len(index) == size == int(env.count_states(params)) == env.num_states
    assert sorted(index) == list(range(size))
    assert env.observation_space(params).n == size
    for i in range(0, size, 97):
        assert index[i] == tabular_index(agent[i], present[i].astype(bool).tolist())


@pytest.mark.parametrize("name", MOSTLY_SLOW)
def test_certain_respawn_is_absent_at_the_next_observation_and_present_after_one_more(name):
    """p_respawn = 1 and p_terminate = 0, collected by staying on the object at t."""
    grid, h = GRIDS[name], harness(name)
    count = len(grid.objects)
    ones = jnp.ones((count,), jnp.float32)
    params = h.params.replace(p_respawn=ones, p_terminate=0 * ones)
    cells = random_cells(np.random.default_rng(4), name, BATCH, count)
    chosen = np.arange(BATCH) % count
    agent = cells[np.arange(BATCH), chosen]
    state = make_state(agent, cells, np.ones_like(cells))
    stay, nine = jnp.full((BATCH,), 4, jnp.int32), jnp.full((BATCH,), 9, jnp.int32)
    others = np.arange(count)[None] != chosen[:, None]

    first, state, reward, terminated = h.step(params, jax.random.key(5), state, stay, nine)
    np.testing.assert_array_equal(state.present, others)
    np.testing.assert_array_equal(reward, np.array([o[0] for o in grid.objects])[chosen])
    second, state, reward, _ = h.step(params, jax.random.key(6), state, stay, nine)
    assert np.all(state.present) and not np.any(reward) and not np.any(terminated)
    for i in range(0, BATCH, 501):
        if grid.kind == "tabular":
            assert first[i] == tabular_index(agent[i], others[i].tolist())
            assert second[i] == tabular_index(agent[i], [True] * count)
        else:
            want = planes(grid, agent[i], cells[i].tolist(), others[i].tolist())
            np.testing.assert_array_equal(first[i], want)
            assert np.asarray(second[i]).sum() == 1 + count


@pytest.mark.parametrize("name", MOSTLY_SLOW)
def test_gymnax_client_resets_steps_truncates_and_terminates(name):
    grid, num_actions = GRIDS[name], (9, 18)[list(GRIDS).index(name) % 2]
    env, params = make(name, num_actions=num_actions)
    count = len(grid.objects)
    assert env.num_actions == num_actions == env.action_space(params).n
    assert np.all(env.action_mask(params)) and env.action_mask(params).shape == (num_actions,)
    space = env.observation_space(params)

    observation, state = env.reset(jax.random.key(8), params)
    assert space.contains(observation) and observation.shape == space.shape
    assert observation.dtype == space.dtype
    assert state.time == 0 and np.all(state.present)

    spare = random_cells(np.random.default_rng(9), name, 1, count + 1)[0]
    cells = np.asarray(params.object_cell) if grid.kind == "tabular" else spare[:count]
    lonely = next(c for c in grid.free_cells() if c not in cells)
    here = 4 if num_actions == 9 else 13  # collects on the agent's own cell

    # Two steps before the time limit, with nothing to collect.
    state = jax.tree.map(
        lambda leaf: leaf[0], make_state([lonely], [cells], [[False] * count], grid.max_steps - 2)
    )
    observation, state, _, terminated, truncated, info = env.step(
        jax.random.key(10), state, 4, params
    )
    assert not terminated and not truncated and state.time == grid.max_steps - 1
    np.testing.assert_array_equal(observation, info["final_observation"])
    before = state
    observation, state, _, terminated, truncated, info = env.step(
        jax.random.key(11), state, 4, params
    )
    assert truncated and not terminated and info["truncated"] and not info["terminated"]
    assert state.time == 0 and np.all(state.present)
    np.testing.assert_array_equal(observation, env.observe(None, state, None, params))
    if grid.kind == "tabular":
        assert info["final_observation"] // 2**count == before.agent_cell == lonely
    else:
        assert info["final_observation"][0].ravel()[lonely] == 1

    # A collection that is made sure to end the episode.
    sure = params.replace(p_terminate=jnp.ones((count,), jnp.float32))
    state = jax.tree.map(lambda leaf: leaf[0], make_state([cells[0]], [cells], [[True] * count]))
    observation, state, reward, terminated, truncated, info = env.step(
        jax.random.key(12), state, here, sure
    )
    assert terminated and not truncated and info["terminated"] and info["discount"] == 0
    assert reward == grid.objects[0][0] and state.time == 0
    assert space.contains(observation) and space.contains(info["final_observation"])
    jax.tree.map(np.testing.assert_array_equal, env.default_params, params)


@pytest.mark.parametrize("name", GRIDS)
def test_the_suite_row_carries_the_published_numbers(name):
    grid = GRIDS[name]
    assert SUITE[name].spec.max_steps == grid.max_steps
    params = harness(name).params
    table = np.stack([params.object_reward, params.p_terminate, params.p_respawn], axis=1)
    np.testing.assert_allclose(table, np.array([o[:3] for o in grid.objects]), rtol=1e-6)
    walls = np.array([[cell == "#" for cell in row] for row in grid.picture])
    np.testing.assert_array_equal(params.wall, walls.ravel())
    assert params.max_steps_in_episode == grid.max_steps
    masks = [harness(name) and make(name, n)[0].num_actions for n in (9, 18)]
    assert masks == [9, 18]
    padded, _ = stack((name,))
    for num_actions in (9, 18):
        mask = padded.action_mask(params.replace(num_actions=jnp.int32(num_actions)))
        np.testing.assert_array_equal(mask, np.arange(18) < num_actions)
