"""Environments that are not the suite's: gymnax's by id, the user's own by import path."""

import json
from collections.abc import Iterable
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from envs.suite import SUITE, SuiteRow, row_of
from lpg import instance
from lpg.environment import Adapter, find
from lpg.random_play import random_return
from metatrain.config_file import from_json

# Best returns of environments that are known well enough, where the scale of normalised returns
# ends: the most there is, or for MinAtar about what the best published agents reach.
BEST_RETURNS = {
    "CartPole-v1": 500.0,
    "Acrobot-v1": -70.0,
    "MountainCar-v0": -100.0,
    "Catch-bsuite": 1.0,
    "DeepSea-bsuite": 0.99,
    "Asterix-MinAtar": 20.0,
    "Breakout-MinAtar": 30.0,
    "Freeway-MinAtar": 60.0,
    "SpaceInvaders-MinAtar": 150.0,
}


class World(NamedTuple):
    """An environment that lives can be in."""

    env: Adapter
    params: Any  # gymnax's EnvParams


@cache
def world(name: str) -> World:
    """The environment of that name; ValueError as `lpg.environment.find`, and for one without the
    time limit by which lives without a finished episode are scored."""
    env, params = find(name, known=tuple(SUITE))
    refuse_unscored(name, params)
    return World(env, params)


def refuse_unscored(name: str, params: Any) -> None:
    """ValueError where lives without a finished episode have no score."""
    if not hasattr(params, "max_steps_in_episode"):
        raise ValueError(
            f"The params of {name} have no max_steps_in_episode, by which lives without a "
            "finished episode are scored; add that field, as gymnax's environments have it."
        )


def own_rows(
    names: Iterable[str], suite_file: Path | None = None, known: tuple[SuiteRow, ...] = ()
) -> tuple[SuiteRow, ...]:
    """Rows of those names that are not the suite's: from the file, else as they are `known`, else
    the environment's own `suite_row` or the defaults of `envs.suite.row_of`.

    Every environment is tried before (`lpg.environment.refuse_unlivable`). Raises ValueError for
    what cannot be lived in, and for a file that cannot be read or says what nobody asked.
    """
    others = tuple(name for name in names if name not in SUITE)
    told = {} if suite_file is None else _read(suite_file, others)
    before = {row.name: row for row in known}
    rows = []
    for name in others:
        env, params = world(name)
        shape = instance.observation_shape(env, params)
        row = before.get(name) or row_of(name, env.env, shape, env.num_states)
        rows.append(replace(row, **told.get(name, {})))
    return tuple(rows)


def _read(path: Path, others: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    known = {field.name for field in fields(SuiteRow)} - {"name", "family", "spec"}
    try:
        told = json.loads(path.read_text())
        for name, row in told.items():
            if name not in others:
                raise ValueError(f"{name!r} is none of the environments of your own in --envs")
            if unknown := row.keys() - known:
                raise ValueError(f"{sorted(unknown)[0]!r} is none of {', '.join(sorted(known))}")
    except OSError as error:
        raise ValueError(f"Cannot read {path} ({error.strerror}).") from error
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"{path} must map environments to fields of their rows, as "
            f'{{"my.worlds:Mine": {{"agent": "D(32)"}}}}: {error}.'
        ) from error
    return {name: from_json(row) for name, row in told.items()}


def stacked(row: SuiteRow, num_envs: int) -> tuple[Adapter, Any]:
    """The row's environment, and its params with a leading axis of one, for `num_envs` that are
    stepped side by side."""
    env, params = world(row.name)
    params = instance.for_parallel(env, params, num_envs)
    return env, jax.tree.map(lambda x: jnp.asarray(x)[None], params)


def with_returns(row: SuiteRow, env: Any, params: Any) -> SuiteRow:
    """The row with the ends of its normalised returns: a random policy's, measured where the row
    does not say, and the best; where none is known, as far above random as that is from 0."""
    low, best = row.random_return, row.best_return
    if low is None:
        low = random_return(env, params, jax.random.key(0)) or 0.0
    if best is None:
        best = BEST_RETURNS.get(row.name, low + max(1.0, abs(low)))
    return replace(row, random_return=low, best_return=best)
