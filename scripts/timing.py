"""How the benchmarks time programs."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax


def seconds_by_turns(
    programs: Mapping[str, Callable[[], Any]], rounds: int
) -> list[dict[str, float]]:
    """Seconds of each program in each of `rounds`, after a first one, which compiles.

    By turns, since a shared machine's speed drifts: compare within a round.
    """

    def seconds(program: Callable[[], Any]) -> float:
        started = time.perf_counter()
        jax.block_until_ready(program())
        return time.perf_counter() - started

    timed = [{name: seconds(run) for name, run in programs.items()} for _ in range(rounds + 1)]
    return timed[1:]
