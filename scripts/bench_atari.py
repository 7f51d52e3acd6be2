"""Frames per second on one Atari game: the emulator alone, with acting, and with learning.

    python scripts/bench_atari.py --game pong --updates 20

The three are measured one after the other in the same process on the same cores. On a machine
without an accelerator the network competes with the emulator for the cores: the split then says how
much of the time each takes.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import numpy as np
import tyro

from lpg.files.loading import load
from lpg.learner import FrozenRule
from lpg.precision import Precision
from lpg.rules.lpg import LPG
from lpg.rules.lpg_eq7 import with_baseline
from metatest.atari.env import FRAMES_PER_STEP, AtariEnv, AtariSettings, Choose
from metatest.atari.train import (
    Player,
    as_trajectory,
    hypers,
    make_programs,
    newborn,
    play_and_learn,
)


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


def main() -> None:
    benchmark = tyro.cli(Benchmark)
    rule, rule_params = load(benchmark.rule)
    if isinstance(rule, LPG):
        rule = with_baseline(rule)
    rule = replace(rule, precision=benchmark.precision)
    env = AtariEnv(benchmark.game, AtariSettings(num_envs=benchmark.num_envs), seed=0)
    programs = make_programs(FrozenRule(rule, rule_params), env.num_actions)
    state = newborn(programs, 0, hypers(5e-4, 0.5, 0.995))
    rng, steps, updates = np.random.default_rng(0), benchmark.num_steps, benchmark.updates

    def at_random(screen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        action = rng.integers(0, env.num_actions, len(screen)).astype(np.int32)
        return action, np.full(len(screen), -np.log(env.num_actions), np.float32)

    def emulate(choose: Choose, count: int) -> None:
        for _ in range(count):
            env.rollout(choose, steps)

    player = Player(programs, state)
    warm, _ = play_and_learn(programs, state, env, 2, steps)  # compiles
    emulate(player, 1)
    trajectory = as_trajectory(env.rollout(at_random, steps))
    seconds = {
        "emulator alone, random actions": timed(lambda: emulate(at_random, updates)),
        "with acting": timed(lambda: emulate(player, updates)),
        "with acting and learning": timed(
            lambda: play_and_learn(programs, warm, env, updates, steps)
        ),
        "learner alone": timed(
            lambda: [
                jax.block_until_ready(programs.learn(warm, [trajectory])) for _ in range(updates)
            ]
        ),
    }
    env.close()
    total = updates * benchmark.num_envs * steps * FRAMES_PER_STEP
    alone = seconds["emulator alone, random actions"]
    for name, value in seconds.items():
        rate = f"{total / value:10,.0f} frames/s"
        print(f"{name:32s} {value / updates * 1e3:8.1f} ms per rollout {rate} {alone / value:6.1%}")
    device = jax.devices()[0].device_kind
    print(json.dumps({"device": device, "frames": total, "seconds": seconds}))


def timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
