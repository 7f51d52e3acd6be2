"""What tuning oneself costs: an update of STAC, STACX, MGRL, DrMG beside IMPALA's, by turns.

    python scripts/bench_tuning.py --env Breakout-MinAtar
    python scripts/bench_tuning.py --env CartPole-v1 --growth stac

An update is one step of theta on one trajectory of 32 environments x 20 steps, the meta-gradient
included; nothing is played. Ratios are medians over rounds in which all take their turns.
`--growth` times whole lives, acting included, at 1 to 64 seeds and fits seconds = a seeds^b.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from lpg.rule import Hypers
from metatest.algorithms import AlgorithmOptions, choose
from metatest.evaluate import Budget, make_task
from metatest.tasks import find_task
from metatest.train_agent import Life, Task, act, born, run_updates

SEEDS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Benchmark:
    """By turns, or growth with seeds."""

    env: str = "Breakout-MinAtar"
    algorithms: tuple[str, ...] = ("impala", "mgrl", "stac", "stacx", "qr", "drmg")
    seeds: int = 2
    rounds: int = 7
    growth: str | None = None
    """An algorithm whose lives are timed at 1 to 64 seeds instead."""


def main() -> None:
    benchmark = tyro.cli(Benchmark)
    if benchmark.growth is not None:
        print(json.dumps(growth(benchmark.env, benchmark.growth)))
        return
    turns = {name: learning(benchmark, name) for name in benchmark.algorithms}
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(benchmark.rounds):
        for name, turn in turns.items():
            seconds[name].append(turn())
    first = seconds[benchmark.algorithms[0]]
    for name, values in seconds.items():
        ratio = statistics.median(b / a for a, b in zip(first, values, strict=True))
        each = f"{statistics.median(values) * 1e3:8.2f} ms an update"
        print(f"{name:10s} {each}, {ratio:.2f} x {benchmark.algorithms[0]}")


def make(env: str, name: str, seeds: int) -> tuple[Task, Life]:
    (algorithm,) = choose((name,), AlgorithmOptions())
    task = make_task(algorithm, find_task(env), Budget())
    hypers = Hypers(*(jnp.full(seeds, x, jnp.float32) for x in (6e-3, 0.5, 0.99)))
    keys = jax.random.split(jax.random.key(0), seeds)
    return task, jax.jit(jax.vmap(partial(born, task)))(keys, hypers)


def learning(benchmark: Benchmark, name: str) -> Callable[[], float]:
    """A turn: seconds of one step of theta, of all seeds together."""
    task, lives = make(benchmark.env, name, benchmark.seeds)
    learner = task.learner
    # Trajectories of its own making, each read as often as the learner likes.
    kept = []
    for _ in range(learner.num_trajectories):
        lives, trajectory = jax.jit(jax.vmap(partial(acted, task)))(lives)
        kept.append(trajectory)

    def learn(life: Life, trajectories: list[Any]) -> Life:
        state = learner.learn(
            life.body(task), task.optimizer, life.learner, trajectories, life.hypers
        )
        return life._replace(learner=state)

    @jax.jit
    def program(lives: Life, trajectories: list[Any], times: Any) -> Life:
        step = jax.vmap(learn)
        return jax.lax.fori_loop(0, times, lambda _, x: step(x, trajectories), lives)

    def seconds(times: int) -> float:
        started = time.perf_counter()
        jax.block_until_ready(program(lives, kept, jnp.int32(times)))
        return time.perf_counter() - started

    seconds(1)
    times = max(1, round(1.0 / seconds(1)))
    return lambda: seconds(times) / (times * learner.fresh)


def acted(task: Task, life: Life) -> tuple[Life, Any]:
    after, trajectory, _ = act(task, life)
    return after, trajectory


def growth(env: str, name: str) -> dict[str, Any]:
    """Seconds an update of whole lives by seeds, and the exponent."""
    found = {}
    for seeds in SEEDS:
        task, lives = make(env, name, seeds)
        program = jax.jit(partial(run_updates, task))
        jax.block_until_ready(program(lives, jnp.int32(1)))
        taken = []
        for _ in range(3):
            started = time.perf_counter()
            jax.block_until_ready(program(lives, jnp.int32(4)))
            taken.append((time.perf_counter() - started) / 4)
        found[seeds] = min(taken)
    slope, _ = np.polyfit(np.log(list(found)), np.log(list(found.values())), 1)
    return {"seconds": found, "exponent": round(float(slope), 3)}


if __name__ == "__main__":
    main()
