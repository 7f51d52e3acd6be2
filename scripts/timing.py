"""How the benchmarks time a program."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax


def median_seconds(program: Callable[[], Any], repeats: int) -> float:
    """Of `repeats` calls after a first one, which compiles."""
    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        jax.block_until_ready(program())
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])
