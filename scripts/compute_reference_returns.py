"""Compute the returns that normalise final returns, and rewrite envs/reference_returns.py.

Random: mean undiscounted return of an episode under the uniform policy, simulated.
Best: tabular grid worlds by finite-horizon dynamic programming, exact for the sampled instances;
random grid worlds by a scripted greedy agent, hence a lower bound; chains +1 by construction.
All are means over sampled instances, half of them with 9 and half with 18 actions.

    python -m scripts.compute_reference_returns
"""

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.reference_returns import ReferenceReturn
from envs.suite import SUITE, GridSpec, stack

TARGET = Path(__file__).parent.parent / "envs" / "reference_returns.py"
NUM_DP_INSTANCES = 16
NUM_EPISODES = 1024  # of a simulation, half of them with either action set


class Instance(NamedTuple):
    """One lifetime's tabular grid world."""

    wall: np.ndarray  # bool [H, W]
    cells: tuple[tuple[int, int], ...]  # (row, column) of each object
    reward: tuple[float, ...]
    p_terminate: tuple[float, ...]
    p_respawn: tuple[float, ...]
    max_steps: int


def sample_instance(spec: GridSpec, rng: np.random.Generator) -> Instance:
    """Objects on distinct free cells."""
    wall = np.zeros((spec.height, spec.width), bool)
    for cell in spec.walls:
        wall[cell] = True
    chosen = rng.choice(np.argwhere(~wall), size=spec.num_objects, replace=False)
    objects = [numbers for count, *numbers in spec.objects for _ in range(count)]
    reward, p_terminate, p_respawn = zip(*objects, strict=True)
    cells = tuple((int(row), int(column)) for row, column in chosen)
    return Instance(wall, cells, reward, p_terminate, p_respawn, spec.max_steps)


def after_respawn(values: np.ndarray, index: int, p_respawn: float) -> np.ndarray:
    """Expectation over object `index` coming back if it is absent; values [H, W, 2, ..., 2]."""
    if p_respawn == 0:
        return values
    axis = np.moveaxis(values, 2 + index, 0)
    absent = (1 - p_respawn) * axis[0] + p_respawn * axis[1]
    return np.moveaxis(np.stack([absent, axis[1]]), 0, 2 + index)


def best_of_moves(values: np.ndarray, wall: np.ndarray) -> np.ndarray:
    """Greatest value over the free cells around and including each cell.

    A blocked move is a stay, which is among the nine; the square's maximum is taken row-wise, then
    column-wise.
    """
    padding = [(1, 1), (1, 1)] + [(0, 0)] * (values.ndim - 2)
    values = values.copy()
    values[wall] = -np.inf
    values = np.pad(values, padding, constant_values=-np.inf)
    rows = np.maximum(np.maximum(values[:-2], values[1:-1]), values[2:])
    return np.maximum(np.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


def best_return(instance: Instance, num_actions: int) -> float:
    """V_0 averaged over the start cells, V_t(s) = max_a E[r + (1 - p_terminate) V_{t+1}(s')].

    Values are held as [H, W, 2, ..., 2]; objects come back independently of each other, so the
    expectation is taken along one axis after the other. Only objects absent before the step can
    come back in it: one collected now stays absent.
    """
    num_objects = len(instance.cells)
    values = np.zeros(instance.wall.shape + (2,) * num_objects)
    for _ in range(instance.max_steps):
        values = _step_back(values, instance, num_actions)
    return float(values[(~instance.wall, *(1,) * num_objects)].mean())


def _step_back(values: np.ndarray, instance: Instance, num_actions: int) -> np.ndarray:
    after = values
    for i, p in enumerate(instance.p_respawn):
        after = after_respawn(after, i, p)
    reach = 0 if num_actions == 9 else 1  # collecting is done from the agent's next or own cell
    collected = [_collect(values, instance, i, reach) for i in range(len(instance.cells))]
    if num_actions == 9:
        after = after.copy()
        for where, value in collected:
            after[where] = value  # unavoidable where one enters or stays
        return best_of_moves(after, instance.wall)
    best = best_of_moves(after, instance.wall)
    for where, value in collected:
        best[where] = np.maximum(best[where], value)
    return best


def _collect(values: np.ndarray, instance: Instance, index: int, reach: int) -> tuple[Any, Any]:
    """States in which object `index` is collected, and the value of doing so there."""
    row, column = instance.cells[index]
    square = (
        slice(max(row - reach, 0), row + reach + 1),
        slice(max(column - reach, 0), column + reach + 1),
    )
    near = values[square]
    for i, p in enumerate(instance.p_respawn):
        if i != index:
            near = after_respawn(near, i, p)
    free_axes = (slice(None),) * index
    absent = near[(slice(None), slice(None), *free_axes, 0)]
    value = instance.reward[index] + (1 - instance.p_terminate[index]) * absent
    return (*square, *free_axes, 1), value


def uniform_policy(key: jax.Array, state: Any, params: Any, env: Any) -> jax.Array:
    del state, env
    return jax.random.randint(key, (), 0, params.num_actions)


def _distances(goal: jax.Array, blocked: jax.Array) -> jax.Array:
    """King-move steps [H, W] to the nearest goal around blocked cells; 99 where there is no way."""

    def relax(_, distance):
        padded = jnp.pad(distance, 1, constant_values=99)
        rows = jnp.minimum(jnp.minimum(padded[:-2], padded[1:-1]), padded[2:])
        square = jnp.minimum(jnp.minimum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
        return jnp.where(blocked, 99, jnp.minimum(distance, square + 1))

    start = jnp.where(goal & ~blocked, 0, 99)
    return jax.lax.fori_loop(0, sum(goal.shape), relax, start)


def greedy_policy(key: jax.Array, state: Any, params: Any, env: Any) -> jax.Array:
    """Walk to the nearest positive object, around the negative ones where entering collects them.

    With none present, wait at the centre. With 18 actions, collect as soon as within reach.
    """
    del key
    shape = (env.height, env.width)

    def mark(which):
        cells = jnp.where(state.present & which, state.object_cell, env.num_cells)
        return jnp.zeros((env.num_cells,), bool).at[cells].set(True, mode="drop").reshape(shape)

    positive, negative = mark(params.object_reward > 0), mark(params.object_reward < 0)
    blocked = params.wall.reshape(shape) | (negative & (params.num_actions == 9))
    centre = jnp.zeros(shape, bool).at[env.height // 2, env.width // 2].set(True)
    distance = _distances(jnp.where(jnp.any(positive), positive, centre), blocked)
    row, column = state.agent_cell // env.width, state.agent_cell % env.width
    padded = jnp.pad(distance, 1, constant_values=99)
    square = jax.lax.dynamic_slice(padded, (row, column), (3, 3)).ravel()
    stays = jnp.arange(9) == 4
    move = jnp.argmin(2 * square - stays)  # stay where nothing is nearer
    in_reach = jax.lax.dynamic_slice(jnp.pad(positive, 1), (row, column), (3, 3)).ravel()
    collects = (params.num_actions == 18) & jnp.any(in_reach)
    return jnp.where(collects, 9 + jnp.argmax(in_reach), move)


def simulate(name: str, policy: Any, num_episodes: int, seed: int = 0) -> np.ndarray:
    """Undiscounted returns [num_episodes], an instance each; the second half has 18 actions."""
    env, stacked = stack((name,))
    base = jax.tree.map(lambda leaf: leaf[0], stacked)
    max_steps = int(base.max_steps_in_episode)

    def episode(key, num_actions):
        key_instance, key_reset, key_steps = jax.random.split(key, 3)
        params = env.sample_params(key_instance, base).replace(num_actions=num_actions)
        _, state = env.reset_env(key_reset, params)

        def step(carry, key):
            state, total, alive = carry
            key_policy, key_step = jax.random.split(key)
            action = policy(key_policy, state, params, env)
            _, state, reward, terminated, _ = env.step_env(key_step, state, action, params)
            return (state, total + jnp.where(alive, reward, 0.0), alive & ~terminated), None

        carry = (state, jnp.float32(0), jnp.bool_(True))
        return jax.lax.scan(step, carry, jax.random.split(key_steps, max_steps))[0][1]

    keys = jax.random.split(jax.random.key(seed), num_episodes)
    num_actions = jnp.where(jnp.arange(num_episodes) < num_episodes // 2, 9, 18).astype(jnp.int32)
    return np.asarray(jax.jit(jax.vmap(episode))(keys, num_actions), np.float64)


def reference(name: str) -> ReferenceReturn:
    """The pair of one environment."""
    row = SUITE[name]
    if row.family == "chain":
        return ReferenceReturn(0.0, 1.0, "exact: the outcome is +1 or -1, and noise has mean 0")
    random = simulate(name, uniform_policy, NUM_EPISODES)
    if row.family == "tabular_grid" and isinstance(row.spec, GridSpec):
        rng = np.random.default_rng(0)
        instances = [sample_instance(row.spec, rng) for _ in range(NUM_DP_INSTANCES)]
        nine, eighteen = (np.array([best_return(x, n) for x in instances]) for n in (9, 18))
        kind = f"dynamic programming, {NUM_DP_INSTANCES} instances"
    else:
        nine, eighteen = np.split(simulate(name, greedy_policy, NUM_EPISODES), 2)
        kind = "best measured, by a scripted greedy agent"
    best = (nine.mean() + eighteen.mean()) / 2
    error = np.sqrt(nine.var() + eighteen.var()) / 2 / np.sqrt(len(nine))
    error_random = random.std() / np.sqrt(len(random))
    halves = [half.mean() for half in np.split(random, 2)]
    print(
        f"{name:18} random {random.mean():8.3f} +- {error_random:.3f}"
        f" (9: {halves[0]:.3f}, 18: {halves[1]:.3f})"
        f"  best {best:8.3f} +- {error:.3f} (9: {nine.mean():.3f}, 18: {eighteen.mean():.3f})",
        flush=True,
    )
    how = f"{kind}; 9 actions {nine.mean():.3f}, 18 actions {eighteen.mean():.3f}"
    return ReferenceReturn(round(float(random.mean()), 4), round(float(best), 4), how)


HEADER = '''\
"""Undiscounted returns per episode that normalise final returns, one pair an environment.

Written by scripts/compute_reference_returns.py; do not edit by hand.
"""

from typing import NamedTuple


class ReferenceReturn(NamedTuple):
    """Undiscounted returns per episode of an environment's instances, on average."""

    random: float  # uniform policy
    best: float
    how: str  # where `best` comes from


REFERENCE_RETURNS = {
'''


def render(references: dict[str, ReferenceReturn]) -> str:
    """The source of envs/reference_returns.py."""
    entries = []
    for name, (random, best, how) in references.items():
        lines = (f"random={random!r}", f"best={best!r}", f'how="{how}"')
        body = "".join(f"        {line},\n" for line in lines)
        entries.append(f'    "{name}": ReferenceReturn(\n{body}    ),\n')
    return HEADER + "".join(entries) + "}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="print only; write nothing")
    arguments = parser.parse_args()
    began = time.time()
    text = render({name: reference(name) for name in SUITE})
    if not arguments.dry_run:
        TARGET.write_text(text)
    print(f"{time.time() - began:.0f} s")


if __name__ == "__main__":
    main()
