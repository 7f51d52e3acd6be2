"""The fifteen published training environments as data (Oh et al. 2020, appendix A and Table 3)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from envs.delayed_chain import DelayedChain, DistractorChain
from envs.grid_world import GridWorldParams
from envs.random_grid_world import RandomGridWorld
from envs.reference_returns import REFERENCE_RETURNS
from envs.tabular_grid_world import TabularGridWorld

Cell = tuple[int, int]


@dataclass(frozen=True)
class GridSpec:
    """A grid world: every object is (reward, p_terminate, p_respawn), `count` of each type."""

    height: int
    width: int
    objects: tuple[tuple[int, float, float, float], ...]  # (count, reward, p_terminate, p_respawn)
    max_steps: int
    walls: tuple[Cell, ...] = ()  # 0-based (row, column); the border is not part of the size

    @property
    def num_objects(self) -> int:
        """Objects of all types together."""
        return sum(count for count, *_ in self.objects)


@dataclass(frozen=True)
class ChainSpec:
    """A delayed chain; a lifetime's length is uniform over the range, ends included."""

    min_length: int
    max_length: int
    noisy: bool = False


@dataclass(frozen=True)
class SuiteRow:
    """One environment with its agent, optimiser, bandit arms and lifetime (Table 3)."""

    name: str
    family: Literal["tabular_grid", "random_grid", "chain", "user"]
    spec: GridSpec | ChainSpec | None  # None for a user's environment
    agent: str  # Table 3's notation
    optimizer: Literal["sgd", "adam"]
    learning_rates: tuple[float, ...]
    prediction_costs: tuple[float, ...]
    lifetime_steps: int
    # Mean undiscounted return of the uniform policy, and the normaliser's upper end (see
    # reference_returns.py); None in a user's row has whoever needs them measure or guess.
    random_return: float | None = None
    best_return: float | None = None

    @property
    def return_range(self) -> tuple[float, float]:
        """Where normalised returns are 0 and 1; ValueError where the row does not say."""
        if self.random_return is None or self.best_return is None:
            raise ValueError(f"The row of {self.name} lacks a random_return or best_return.")
        return self.random_return, self.best_return


_DENSE = ((2, 1.0, 0.0, 0.05), (1, -1.0, 0.5, 0.1), (1, -1.0, 0.0, 0.5))
_LONG_HORIZON = ((2, 1.0, 0.0, 0.01), (2, -1.0, 0.5, 1.0))
# The walls are only drawn in the paper's figures; these were read off them.
_LONGER_WALLS = ((0, 4), (2, 4), (3, 4), (4, 4), (6, 4), (3, 3), (3, 5))
_LONG_DENSE_WALLS = tuple((r, 5) for r in range(11) if r not in (0, 7)) + tuple(
    (4, c) for c in range(11) if c not in (2, 5, 8)
)
_PREDICTION_COSTS = (0.1, 0.5, 1.0)
_TABLE_RATES = (20.0, 40.0, 80.0)
_ADAM_RATES = (5e-4, 1e-3, 2e-3, 5e-3)


def _tabular(name: str, spec: GridSpec) -> SuiteRow:
    return SuiteRow(
        name, "tabular_grid", spec, "table", "sgd", _TABLE_RATES, _PREDICTION_COSTS, 3_000_000
    )


def _random(name: str, spec: GridSpec, agent: str) -> SuiteRow:
    return SuiteRow(
        name, "random_grid", spec, agent, "adam", _ADAM_RATES, _PREDICTION_COSTS, 30_000_000
    )


def _chain(name: str, spec: ChainSpec) -> SuiteRow:
    return SuiteRow(name, "chain", spec, "table", "sgd", _TABLE_RATES, _PREDICTION_COSTS, 1_000_000)


_ROWS = (
    _tabular("dense", GridSpec(11, 11, _DENSE, 500)),
    _tabular("sparse", GridSpec(13, 13, ((1, 1.0, 1.0, 0.0), (1, -1.0, 1.0, 0.0)), 50)),
    _tabular("long_horizon", GridSpec(11, 11, _LONG_HORIZON, 1000)),
    _tabular(
        "longer_horizon",
        GridSpec(7, 9, ((2, 1.0, 0.1, 0.01), (5, -1.0, 0.8, 1.0)), 2000, _LONGER_WALLS),
    ),
    _tabular("long_dense", GridSpec(11, 11, ((4, 1.0, 0.0, 0.005),), 2000, _LONG_DENSE_WALLS)),
    _random("rand_dense", GridSpec(11, 11, _DENSE, 500), "C(16)-D(32)"),
    _random("rand_long_horizon", GridSpec(11, 11, _LONG_HORIZON, 1000), "C(16)-D(32)"),
    _random(
        "rand_small",
        GridSpec(5, 7, ((2, 1.0, 0.0, 0.05), (2, -1.0, 0.5, 0.1)), 500, ((1, 2), (3, 4))),
        "D(32)",
    ),
    _random("rand_sparse", GridSpec(5, 7, ((1, 1.0, 1.0, 1.0), (2, -1.0, 1.0, 1.0)), 50), "D(32)"),
    _random("rand_very_dense", GridSpec(11, 11, ((1, 1.0, 0.0, 1.0),), 2000), "C(32-16-16)-D(256)"),
    _chain("short", ChainSpec(5, 30)),
    _chain("short_noisy", ChainSpec(5, 30, noisy=True)),
    _chain("long", ChainSpec(5, 50)),
    _chain("long_noisy", ChainSpec(5, 50, noisy=True)),
    SuiteRow(
        "distractor",
        "chain",
        ChainSpec(5, 30),
        "D(16)",
        "adam",
        (2e-3, 5e-3, 1e-2),
        _PREDICTION_COSTS,
        2_000_000,
    ),
)


def _with_references(row: SuiteRow) -> SuiteRow:
    reference = REFERENCE_RETURNS[row.name]
    return SuiteRow(
        **{**vars(row), "random_return": reference.random, "best_return": reference.best}
    )


SUITE: dict[str, SuiteRow] = {row.name: _with_references(row) for row in _ROWS}


def row_of(
    name: str, env: Any, observation_shape: tuple[int, ...], num_states: int = 0
) -> SuiteRow:
    """The row of an environment that is not of the suite: `env.suite_row` where it has one; else a
    table where observations are state indices, convolutions where they are images, with the arms
    that Table 3 gives these, for 512,000 steps."""
    if (own := getattr(env, "suite_row", None)) is not None:
        return replace(own, name=name, family="user", spec=None)
    if num_states and observation_shape == ():
        agent, optimizer, rates = "table", "sgd", _TABLE_RATES
    else:
        agent = "C(16)-D(128)" if len(observation_shape) == 3 else "D(64-64)"
        optimizer, rates = "adam", _ADAM_RATES
    return SuiteRow(name, "user", None, agent, optimizer, rates, _PREDICTION_COSTS, 512_000)


def get_row(name: str) -> SuiteRow:
    """The row of `name`; ValueError names the known ones."""
    if name not in SUITE:
        raise ValueError(f"Unknown environment {name!r}; known are {', '.join(SUITE)}.")
    return SUITE[name]


def normalised_return(row: SuiteRow | str, value: float) -> float:
    """(G - G_random) / (G_best - G_random), clipped to [0, 1]."""
    row = get_row(row) if isinstance(row, str) else row
    low, high = row.return_range
    return float(np.clip((value - low) / (high - low), 0.0, 1.0))


def cohorts(rows: Sequence[SuiteRow]) -> tuple[tuple[SuiteRow, ...], ...]:
    """Group environments that can share static shapes, agent, optimiser and arms; order kept. A
    user's own is alone."""
    groups: dict[Any, list[SuiteRow]] = {}
    for row in rows:
        size = None
        if isinstance(row.spec, GridSpec) and row.family == "random_grid":
            size = row.spec.height, row.spec.width
        elif row.family == "user":
            size = row.name
        key = (row.family, size, row.agent, row.optimizer, row.learning_rates, row.prediction_costs)
        groups.setdefault(key, []).append(row)
    return tuple(tuple(group) for group in groups.values())


def stack(names: tuple[str, ...]) -> tuple[Any, Any]:
    """The padded environment of one cohort, and its base params stacked [E, ...].

    `sample_params` of the environment draws a lifetime's instance from one row of them.
    """
    rows = [get_row(name) for name in names]
    if len(cohorts(rows)) != 1:
        raise ValueError(f"{', '.join(names)} do not share one environment class and agent.")
    if rows[0].family == "chain":
        env = _chain_env([row.spec for row in rows], rows[0].name == "distractor")
        params = [_chain_params(row.spec) for row in rows]
    else:
        specs = [row.spec for row in rows]
        env = _grid_env(rows[0].family, specs)
        params = [_grid_params(s, env.num_cells, env.num_objects) for s in specs]
    return env, jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)


def make(name: str, num_actions: int = 9, seed: int = 0) -> tuple[Any, Any]:
    """One environment, unpadded, and an instance of it drawn with `seed`: for gymnax clients.

    Args:
        num_actions: 9 or 18, for grid worlds; chains have 2.
    """
    row = get_row(name)
    if num_actions not in (9, 18):
        raise ValueError(f"num_actions must be 9 or 18, got {num_actions}.")
    if isinstance(row.spec, ChainSpec):
        if num_actions != 9:
            raise ValueError(f"{name} is a chain of two actions; num_actions is for grid worlds.")
        ranging = _chain_env([row.spec], name == "distractor")
        params = ranging.sample_params(jax.random.key(seed), ranging.default_params)
        return _chain_env([row.spec], name == "distractor", int(params.length)), params
    padded = _grid_env(row.family, [row.spec])
    base = _grid_params(row.spec, padded.num_cells, padded.num_objects)
    params = padded.sample_params(jax.random.key(seed), base)
    params = params.replace(num_actions=jnp.int32(num_actions))
    return _grid_env(row.family, [row.spec], num_actions, params), params


def _chain_env(specs: list[Any], distractor: bool, length: int | None = None) -> DelayedChain:
    kind = DistractorChain if distractor else DelayedChain
    return kind(
        max_length=max(s.max_length for s in specs),
        min_length=min(s.min_length for s in specs),
        noisy=all(s.noisy for s in specs),
        length=length,
    )


def _chain_params(spec: Any) -> Any:
    return DelayedChain(spec.max_length, spec.min_length, spec.noisy).default_params


def _grid_env(
    family: str, specs: list[Any], num_actions: int = 18, params: GridWorldParams | None = None
) -> Any:
    kind = TabularGridWorld if family == "tabular_grid" else RandomGridWorld
    num_objects = max(s.num_objects for s in specs)
    num_cells = max(s.height * s.width for s in specs)
    return kind(
        height=specs[0].height,
        width=specs[0].width,
        num_cells=num_cells,
        num_objects=num_objects,
        num_types=max(len(s.objects) for s in specs),
        num_actions=num_actions,
        params=params,
        # No instance has both the most cells and the most objects: tables need not hold that many.
        num_states=max(s.height * s.width * 2**s.num_objects for s in specs),
    )


def _grid_params(spec: Any, num_cells: int, num_objects: int) -> GridWorldParams:
    """Params padded to `num_cells` and `num_objects`; padding is wall, and never valid."""
    wall = np.ones((num_cells,), bool)
    wall[: spec.height * spec.width] = False
    for row, column in spec.walls:
        wall[row * spec.width + column] = True
    table = np.zeros((num_objects, 3), np.float32)
    types = np.zeros((num_objects,), np.int32)
    filled = 0
    for kind, (count, *numbers) in enumerate(spec.objects):
        table[filled : filled + count] = numbers
        types[filled : filled + count] = kind
        filled += count
    return GridWorldParams(
        height=jnp.int32(spec.height),
        width=jnp.int32(spec.width),
        wall=jnp.asarray(wall),
        object_reward=jnp.asarray(table[:, 0]),
        p_terminate=jnp.asarray(table[:, 1]),
        p_respawn=jnp.asarray(table[:, 2]),
        object_valid=jnp.arange(num_objects) < filled,
        object_type=jnp.asarray(types),
        object_cell=jnp.zeros((num_objects,), jnp.int32),
        num_actions=jnp.int32(18),
        max_steps_in_episode=jnp.int32(spec.max_steps),
    )
