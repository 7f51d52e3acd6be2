"""Batched, cached entry points to the grid worlds for the tests: one compilation each."""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy_models import GRIDS
from scipy import stats
from some_slow import some_slow

from envs.grid_world import GridWorldState
from envs.suite import stack

BATCH = 20_000
SIGMAS = 4.5  # two-sided false-alarm rate 6.8e-6 a comparison
P_VALUE = 1e-6  # false-alarm rate of one chi-square test
FEW = {"dense", "longer_horizon", "rand_dense", "rand_small"}
# The others are the same code with other numbers, which every cell of them is tested for elsewhere.
MOSTLY_SLOW = some_slow(GRIDS, set(GRIDS) - FEW)


class Harness(NamedTuple):
    params: Any  # unpadded, 18 actions
    step: Any  # (params, key, state, action, num_actions) batched
    reset: Any  # (params, key) batched
    sample: Any  # (params, key) batched
    observe: Any  # (params, state) batched


@cache
def harness(name: str) -> Harness:
    env, stacked = stack((name,))
    params = jax.tree.map(lambda leaf: leaf[0], stacked)

    @jax.jit
    def step(params, key, state, action, num_actions):
        def one(key, state, action, num_actions):
            return env.step_env(key, state, action, params.replace(num_actions=num_actions))[:4]

        return jax.vmap(one)(jax.random.split(key, BATCH), state, action, num_actions)

    def over_keys(function):
        return jax.jit(
            lambda params, key: jax.vmap(lambda k: function(k, params))(
                jax.random.split(key, BATCH)
            )
        )

    observe = jax.jit(jax.vmap(lambda params, s: env.observe(None, s, None, params), (None, 0)))
    return Harness(params, step, over_keys(env.reset_env), over_keys(env.sample_params), observe)


def make_state(agent, cells, present, time=0) -> GridWorldState:
    """A batch of states from NumPy arrays [N], [N, objects], [N, objects]."""
    agent = np.asarray(agent, np.int32)
    return GridWorldState(
        time=jnp.full(agent.shape, time, jnp.int32),
        agent_cell=jnp.asarray(agent),
        object_cell=jnp.asarray(cells, jnp.int32),
        present=jnp.asarray(present, bool),
    )


def random_cells(rng: np.random.Generator, name: str, count: int, num: int) -> np.ndarray:
    """`num` distinct free cells in each of `count` rows."""
    free = np.array(GRIDS[name].free_cells())
    order = np.argsort(rng.random((count, len(free))), axis=1)[:, :num]
    return free[order]


def assert_frequency(hits: int, trials: int, p: float, what: str) -> None:
    """Binomial count within 4.5 standard deviations; exact where p is 0 or 1."""
    deviation = SIGMAS * np.sqrt(trials * p * (1 - p))
    assert trials > 0, what
    assert abs(hits - trials * p) <= deviation + 1e-9, f"{what}: {hits} of {trials}, p={p}"


def assert_uniform(values: np.ndarray, support: list[int], what: str) -> None:
    """Only values of `support`, and uniform over it by a chi-square test."""
    assert set(np.unique(values)) <= set(support), what
    counts = np.array([(values == value).sum() for value in support])
    assert stats.chisquare(counts).pvalue > P_VALUE, f"{what}: {counts}"
