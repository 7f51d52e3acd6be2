"""The speed of two checkouts of this project, by turns: what a change costs.

    git worktree add ../before COMMIT
    python scripts/by_turns.py --before ../before --what quick grids-float32 lpg:dense a2c:dense

Both are started once, compile, and then take turns on one core, nine times each, in changing order:
what else the machine does meets both alike. Printed per line: median milliseconds of either (of a
meta-step or an update), the median of the rounds' ratios, and the ratio of the fastest rounds.
"""

import dataclasses
import importlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import tyro

ROOT = Path(__file__).parent.parent
WORLDS = {
    "grids": ("dense", "sparse", "long_horizon", "longer_horizon", "long_dense"),
    "random": ("rand_dense", "rand_long_horizon", "rand_small", "rand_sparse", "rand_very_dense"),
}
ROUNDS = 9


@dataclass(frozen=True)
class Turns:
    """Compare two checkouts."""

    before: Path
    now: Path = ROOT
    what: tuple[str, ...] = ("quick", "grids-float32", "grids-bfloat16", "lpg:dense", "a2c:dense")
    """quick; grids-PRECISION: 20 lifetimes on the tabular grids, LSTM 256; random-PRECISION: the
    same on the random ones; ALGORITHM:ENVIRONMENT of metatest, 8 agents."""
    core: int = 0


def main() -> None:
    if sys.argv[1:2] == ["worker"]:
        work(sys.argv[2])
        return
    turns = tyro.cli(Turns)
    for what in turns.what:
        workers = [start(folder, what, turns.core) for folder in (turns.before, turns.now)]
        try:
            print(f"{what:24s} {compare(workers)}", flush=True)
        finally:
            for worker in workers:
                worker.kill()


def start(folder: Path, what: str, core: int) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(folder), str(folder / "scripts")])
    environment = {**os.environ, "PYTHONPATH": paths, "JAX_NUM_CPU_DEVICES": "1"}
    command = [sys.executable, __file__, "worker", what]
    if hasattr(os, "sched_setaffinity"):
        command = ["taskset", "-c", str(core), *command]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=folder,
    )


def compare(workers: list[subprocess.Popen[str]]) -> str:
    seconds: list[list[float]] = [[], []]
    for worker in workers:
        read(worker)
    for turn in range(ROUNDS):
        for i in (0, 1) if turn % 2 == 0 else (1, 0):
            print("go", file=workers[i].stdin, flush=True)
            seconds[i].append(float(read(workers[i])))
    before, now = (statistics.median(x) * 1e3 for x in seconds)
    ratio = statistics.median(b / a for a, b in zip(*seconds, strict=True))
    fastest = min(seconds[1]) / min(seconds[0])
    return f"before {before:8.1f} ms, now {now:8.1f} ms: {ratio:.3f}, fastest {fastest:.3f}"


def read(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    line = worker.stdout.readline()
    if not line:
        raise SystemExit("A worker ended early; run it alone to see why: by_turns.py worker WHAT.")
    return line


def work(what: str) -> None:
    """Compile, say so, then answer each line of stdin with a round's seconds."""
    turn = metatest_turn(*what.split(":")) if ":" in what else metatrain_turn(what)
    turn()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(turn(), flush=True)


def metatrain_turn(what: str) -> Callable[[], float]:
    from metatrain.engine import Engine
    from metatrain.presets import PRESETS

    config = PRESETS["quick" if what == "quick" else "tabular"]
    changes: dict[str, Any] = {"reward_free_share": 0.0}
    if what != "quick":
        worlds, _, precision = what.partition("-")
        rule = dataclasses.replace(config.rule, precision=precision)
        changes |= {"envs": WORLDS[worlds], "lifetimes": 20, "rule": rule}
    known = {field.name for field in dataclasses.fields(config)}
    config = dataclasses.replace(config, **{k: v for k, v in changes.items() if k in known})
    engine = Engine(config.rule, config)
    states = [engine.init(jax.random.key(0))]
    steps = 20 if what == "quick" else 2

    def turn() -> float:
        started = time.perf_counter()
        state, metrics = engine.program(states.pop(), jnp.int32(steps))
        float(metrics.meta_steps)
        states.append(jax.block_until_ready(state))
        return (time.perf_counter() - started) / steps

    return turn


def metatest_turn(name: str, env: str) -> Callable[[], float]:
    from metatest import algorithms
    from metatest.evaluate import Budget, make_task
    from metatest.tasks import find_task
    from metatest.train_agent import born, run_updates

    rule = importlib.import_module("lpg.rule")
    names = ("lpg-15", "a2c")
    if hasattr(algorithms, "AlgorithmOptions"):
        chosen = algorithms.choose(names, algorithms.AlgorithmOptions())
    else:  # before there was one
        old: Any = algorithms
        chosen = old.choose(names[0], old.load_rule(names[0]), names[1:], False, "auto")
    spec = find_task(env)
    task = make_task(chosen[name == "a2c"], spec, Budget(num_envs=64))
    rate = jnp.full((8,), spec.learning_rates[0], jnp.float32)
    hypers = rule.Hypers(rate, jnp.full_like(rate, 0.5), jnp.full_like(rate, 0.995))
    lives = [jax.vmap(partial(born, task))(jax.random.split(jax.random.key(0), 8), hypers)]
    program = jax.jit(partial(run_updates, task), donate_argnums=0)
    updates = 20 if env == "dense" else 1

    def turn() -> float:
        started = time.perf_counter()
        after, _ = jax.block_until_ready(program(lives.pop(), jnp.int32(updates)))
        lives.append(after)
        return (time.perf_counter() - started) / updates

    return turn


if __name__ == "__main__":
    main()
