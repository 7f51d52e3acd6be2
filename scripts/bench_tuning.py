"""What tuning oneself costs: an update of STAC, STACX, MGRL, DrMG beside IMPALA's, by turns.

    python scripts/bench_tuning.py --env Breakout-MinAtar
    python scripts/bench_tuning.py --env CartPole-v1 --growth stac
    python scripts/bench_tuning.py --env atari --num-envs 4 --algorithms impala stac stacx

An update is one step of theta on one trajectory of 32 environments x 20 steps, the meta-gradient
included; nothing is played. Ratios are medians over rounds in which all take their turns. On
`atari` one agent, the deep ResNet, reads screens of noise.
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

from lpg.agents.nature_network import SCREEN
from lpg.rule import Hypers
from lpg.trajectory import Trajectory
from metatest.algorithms import AlgorithmOptions, choose
from metatest.atari.train import hypers as atari_hypers
from metatest.atari.train import make_programs, newborn
from metatest.evaluate import Budget, make_task
from metatest.family import TuningOptions
from metatest.tasks import find_task
from metatest.train_agent import Life, Task, act, born, run_updates

SEEDS = (1, 2, 4, 8, 16, 32, 64)
ACTIONS, NUM_STEPS = 6, 20  # actions of noise, steps of every trajectory


@dataclass(frozen=True)
class Benchmark:
    """By turns, or growth with seeds."""

    env: str = "Breakout-MinAtar"
    algorithms: tuple[str, ...] = ("impala", "mgrl", "stac", "stacx", "qr", "drmg")
    seeds: int = 2
    num_envs: int = 32
    rounds: int = 7
    growth: str | None = None
    """An algorithm whose lives are timed at 1 to 64 seeds instead."""


def main() -> None:
    benchmark = tyro.cli(Benchmark)
    if benchmark.growth is not None:
        print(json.dumps(growth(benchmark.env, benchmark.growth)))
        return
    of_env = reading_screens if benchmark.env == "atari" else learning
    turns = {name: of_env(benchmark, name) for name in benchmark.algorithms}
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(benchmark.rounds):
        for name, turn in turns.items():
            seconds[name].append(turn())
    first = seconds[benchmark.algorithms[0]]
    for name, values in seconds.items():
        ratio = statistics.median(b / a for a, b in zip(first, values, strict=True))
        each = f"{statistics.median(values) * 1e3:8.2f} ms an update"
        print(f"{name:10s} {each}, {ratio:.2f} x {benchmark.algorithms[0]}")


def make(
    env: str, name: str, seeds: int, num_envs: int = 32, num_steps: int = NUM_STEPS
) -> tuple[Task, Life]:
    (algorithm,) = choose((name,), AlgorithmOptions())
    budget = Budget(num_envs=num_envs, num_steps=num_steps)
    task = make_task(algorithm, find_task(env), budget)
    hypers = Hypers(*(jnp.full(seeds, x, jnp.float32) for x in (6e-3, 0.5, 0.99)))
    keys = jax.random.split(jax.random.key(0), seeds)
    return task, jax.jit(jax.vmap(partial(born, task)))(keys, hypers)


def learning(benchmark: Benchmark, name: str) -> Callable[[], float]:
    """A turn: seconds of one step of theta, of all seeds together."""
    task, lives = make(benchmark.env, name, benchmark.seeds, benchmark.num_envs)
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

    return turn_of(lambda times: program(lives, kept, jnp.int32(times)), learner.fresh)


def reading_screens(benchmark: Benchmark, name: str) -> Callable[[], float]:
    """The same of one agent with the deep ResNet, on trajectories of noise."""
    (algorithm,) = choose((name,), AlgorithmOptions(tuning=TuningOptions(lag=1)))
    learner = algorithm.learner
    programs = make_programs(learner, ACTIONS, algorithm.training.atari, 1000)
    state = newborn(programs, 0, atari_hypers(6e-4, None, 0.995))
    kept = [noise(i, benchmark.num_envs) for i in range(learner.num_trajectories)]

    def learn(times: int) -> Any:
        after = state
        for _ in range(times):
            after = programs.learn(after._replace(kept=()), kept)
        return after

    return turn_of(learn, learner.fresh)


def noise(seed: int, num_envs: int) -> Trajectory:
    """Screens, actions and rewards at random; no episode ends."""
    rng = np.random.default_rng(seed)
    shape = (NUM_STEPS, num_envs)
    screens = rng.integers(0, 256, (NUM_STEPS + 1, num_envs, *SCREEN), np.uint8)
    return Trajectory(
        observation=jnp.asarray(screens),
        action=jnp.asarray(rng.integers(0, ACTIONS, shape), jnp.int32),
        reward=jnp.asarray(rng.normal(size=shape), jnp.float32),
        terminated=jnp.zeros(shape, bool),
        truncated=jnp.zeros(shape, bool),
        behaviour_log_prob=jnp.full(shape, -np.log(ACTIONS), jnp.float32),
    )


def turn_of(run: Callable[[int], Any], steps: int) -> Callable[[], float]:
    """Seconds of a step of theta, `steps` of which are in each of the times that `run` runs."""

    def seconds(times: int) -> float:
        started = time.perf_counter()
        jax.block_until_ready(run(times))
        return time.perf_counter() - started

    seconds(1)
    times = max(1, round(1.0 / seconds(1)))
    return lambda: seconds(times) / (times * steps)


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
