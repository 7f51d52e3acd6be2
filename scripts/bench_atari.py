"""Frames per second on one Atari game: the emulator alone, with acting, and with learning.

    python scripts/bench_atari.py --game pong --updates 20 --threads 0 1 8

All are measured by turns in the same process on the same cores; the ratios are medians of the
rounds'. On a machine without an accelerator the network competes with the emulator for the cores:
the split then says how much of the time each takes.

At the end it counts, from a step, a choice and the bookkeeping that it measured on this machine,
what a step of all environments takes at least on other cores and beside an accelerator that answers
after a given time: whichever is longer of the cores' work and of what must happen one by one.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np
import tyro

from lpg.agents.nature_network import SCREEN
from lpg.files.loading import load
from lpg.learner import FrozenRule
from lpg.platform import cores
from lpg.precision import Precision
from lpg.rules.lpg import LPG
from lpg.rules.lpg_eq7 import with_baseline
from metatest.atari.env import FRAMES_PER_STEP, AtariEnv, AtariSettings, Choose, _step
from metatest.atari.train import (
    Player,
    as_trajectory,
    hypers,
    make_programs,
    newborn,
    play_and_learn,
)

RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Benchmark:
    game: str = "pong"
    """In ALE's spelling."""
    rule: str = "lpg-15"
    """A rule file or the name of a shipped one."""
    updates: int = 20
    """Timed updates (rollouts) of each variant."""
    num_envs: int = 30
    """Table 4: 30."""
    num_steps: int = 20
    """Table 4: 20."""
    precision: Precision = "auto"
    """Of the rule's LSTM."""
    threads: tuple[int, ...] = (0,)
    """Of each half's emulator, tried in turn; 0 is ale-py's own choice."""
    rounds: int = 5
    """Turns that the updates are cut into."""
    count_cores: tuple[int, ...] = (4, 16)
    """Cores that are counted for."""
    round_trip: float = 2.0
    """Milliseconds after which the accelerator that is counted for answers."""


def main() -> None:
    benchmark = tyro.cli(Benchmark)
    rule, rule_params = load(benchmark.rule)
    if isinstance(rule, LPG):
        rule = with_baseline(rule)
    rule = replace(rule, precision=benchmark.precision)
    envs = {n: make(benchmark, n) for n in benchmark.threads}
    env = envs[benchmark.threads[0]]
    programs = make_programs(FrozenRule(rule, rule_params), env.num_actions)
    state = newborn(programs, 0, hypers(5e-4, 0.5, 0.995))
    steps, num = benchmark.num_steps, -(-benchmark.updates // benchmark.rounds)
    player, at_random = Player(programs, state), partial(random_actions, env.num_actions)
    warm, _ = play_and_learn(programs, state, env, 2, steps)  # compiles
    trajectory = as_trajectory(env.rollout(at_random, steps))

    def emulate(env: AtariEnv, choose: Choose) -> None:
        for _ in range(num):
            env.rollout(choose, steps)

    def learn() -> None:
        for _ in range(num):
            jax.block_until_ready(programs.learn(warm, [trajectory]))

    variants: dict[str, Callable[[], object]] = {
        f"emulator alone, threads {n}": partial(emulate, x, at_random) for n, x in envs.items()
    }
    variants["with acting"] = partial(emulate, env, player)
    variants["with acting and learning"] = lambda: play_and_learn(programs, warm, env, num, steps)
    variants["learner alone"] = learn
    seconds = by_turns(variants, benchmark.rounds)
    for x in envs.values():
        x.close()
    frames = num * benchmark.num_envs * steps * FRAMES_PER_STEP
    show(seconds, num, frames)
    count(benchmark, player)
    medians = {name: statistics.median(x) for name, x in seconds.items()}
    device = jax.devices()[0].device_kind
    print(json.dumps({"device": device, "frames": frames, "seconds": medians}))


def make(benchmark: Benchmark, threads: int) -> AtariEnv:
    settings = AtariSettings(num_envs=benchmark.num_envs, emulator_threads=threads)
    return AtariEnv(benchmark.game, settings, seed=0)


def random_actions(num_actions: int, screen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    action = RNG.integers(0, num_actions, len(screen)).astype(np.int32)
    return action, np.full(len(screen), -np.log(num_actions), np.float32)


def by_turns(variants: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every round, in changing order."""
    for run in variants.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds):
        for name in list(variants)[:: 1 if turn % 2 == 0 else -1]:
            seconds[name].append(timed(variants[name]))
    return seconds


def show(seconds: dict[str, list[float]], num: int, frames: int) -> None:
    first = next(iter(seconds.values()))
    for name, each in seconds.items():
        median = statistics.median(each)
        ratio = statistics.median(a / b for a, b in zip(first, each, strict=True))
        rate = f"{frames / median:10,.0f} frames/s"
        print(f"{name:28s} {median / num * 1e3:8.1f} ms per rollout {rate} {ratio:6.1%}")


def count(benchmark: Benchmark, player: Player) -> None:
    """From what is measured on as many cores as there are."""
    half, here = benchmark.num_envs // 2, cores()
    alone = AtariEnv(benchmark.game, AtariSettings(num_envs=2, emulator_threads=1), seed=0)
    env = alone._emulators[0]
    action, screens = np.zeros(1, np.int32), np.zeros((half, *SCREEN), np.uint8)

    def step() -> None:
        env.ask(partial(_step, action=action))
        env.answer()

    emulated = fastest(step, 300)
    alone.close()
    chosen = fastest(lambda: player(screens), 30)
    kept = bookkeeping(benchmark)
    print(
        f"a step {emulated:.2f} ms of a core; {half} screens acted on in {chosen:.2f} ms on "
        f"{here} cores; bookkeeping {kept:.2f} ms; counted per step of {2 * half}:"
    )
    for n in benchmark.count_cores:
        work, act = 2 * half * emulated / n, chosen * here / n
        ways = {
            "emulator alone": max(work, 2 * kept),
            "acting on the host": max(work + 2 * act, 2 * (kept + act)),
            f"on a device, {benchmark.round_trip:g} ms": max(
                work, 2 * (kept + benchmark.round_trip)
            ),
            "three groups, on a device": max(work, 3 * (kept + benchmark.round_trip)),
        }
        for name, milliseconds in ways.items():
            rate = 2 * half * FRAMES_PER_STEP / milliseconds * 1e3
            print(f"  {n:2d} cores, {name:26s} {milliseconds:6.2f} ms {rate:10,.0f} frames/s")


def bookkeeping(benchmark: Benchmark) -> float:
    """Milliseconds of half a step beside emulators that answer at once."""
    env = make(benchmark, 1)
    half = env._halves[0]
    half.emulator.ask(partial(_step, action=np.zeros(benchmark.num_envs // 2, np.int32)))
    answer = half.emulator.answer()
    env.close()
    for x in env._halves:
        x.emulator = Prompt(answer)  # type: ignore[assignment]
    nothing = np.zeros(len(half.started), np.int32), np.zeros(len(half.started), np.float32)
    steps = benchmark.num_steps
    return fastest(lambda: env.rollout(lambda screen: nothing, steps), 10) / steps / 2


@dataclass
class Prompt:
    """An emulator that has always the same to say."""

    said: Any

    def ask(self, task: object) -> None:
        del task

    def answer(self) -> Any:
        return self.said


def fastest(run: Callable[[], object], times: int) -> float:
    """Milliseconds; others on the machine only make it slower."""
    return min(timed(run) for _ in range(times)) * 1e3


def timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
