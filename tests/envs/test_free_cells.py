"""Draws without replacement from the free cells against NumPy's deletion from a list."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.free_cells import NO_RANK, free_cells, insert
from envs.grid_world import GridWorldState
from envs.suite import make

WALL = np.array([0, 1, 0, 0, 1, 0, 0, 0, 1, 0], bool)  # free: 0 2 3 5 6 7 9


@pytest.mark.parametrize("taken", [[], [0], [6], [3, 1], [0, 1, 2], [6, 0, 5, 4], [2, NO_RANK, 4]])
def test_every_draw_is_the_remaining_cell_that_numpy_finds(taken):
    free = free_cells(jnp.asarray(WALL))
    remaining = np.delete(np.flatnonzero(~WALL), [rank for rank in taken if rank < NO_RANK])

    def draw(uniform, ranks):
        rising = ()
        for rank in ranks:
            rising = insert(rising, rank)
        return free.cell(free.draw(uniform, rising))

    count = len(remaining)
    largest = np.nextafter(np.float32(1), np.float32(0))
    uniform = np.append((np.arange(count) + 0.5) / count, [0.0, largest]).astype(np.float32)
    want = [*remaining, remaining[0], remaining[-1]]
    drawn = jax.jit(jax.vmap(draw, (0, None)))(uniform, jnp.asarray(taken, jnp.int32))
    np.testing.assert_array_equal(drawn, want)


def test_ranks_number_the_free_cells_in_order():
    free = free_cells(jnp.asarray(WALL))
    cells = np.flatnonzero(~WALL)
    np.testing.assert_array_equal(free.rank(jnp.asarray(cells)), np.arange(len(cells)))
    np.testing.assert_array_equal(jax.vmap(free.cell)(jnp.arange(len(cells))), cells)


@pytest.mark.parametrize("agent_on_object", [False, True])
def test_respawn_reaches_every_free_cell_with_the_agent_on_or_off_an_object(agent_on_object):
    """With 18 actions the agent may stand on an object; 4,000 draws over at most 33 cells.

    A cell of probability >= 1/34 is missed with probability 34 * (33/34)^4000 < 1e-49.
    """
    env, params = make("rand_sparse", 18)  # 5 x 7 cells, three objects that come back at once
    agent = 10 if agent_on_object else 20
    state = GridWorldState(
        time=jnp.int32(0),
        agent_cell=jnp.int32(agent),
        object_cell=jnp.array([3, 10, 30], jnp.int32),
        present=jnp.array([False, True, True]),
    )
    keys = jax.random.split(jax.random.key(0), 4_000)
    after = jax.jit(jax.vmap(lambda key: env.step_env(key, state, 4, params)[1]))(keys)
    assert after.present.all()
    want = set(range(35)) - {10, 30, agent}
    cell, count = np.unique(after.object_cell[:, 0], return_counts=True)
    assert set(cell.tolist()) == want
    # Every count within 5.5 standard deviations: false-alarm rate below 2e-6 in all.
    p = 1 / len(want)
    assert abs(count - 4_000 * p).max() < 5.5 * np.sqrt(4_000 * p * (1 - p))
