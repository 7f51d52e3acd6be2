"""Time and memory of one meta-step, and how they grow; each size in a process of its own.

    python scripts/bench_metatrain.py --preset paper --sizes 15 30 60
    python scripts/bench_metatrain.py --lifetimes 20 --envs dense sparse long_horizon \
        longer_horizon long_dense
    python scripts/bench_metatrain.py --preset quick --stages
    python scripts/bench_metatrain.py --vary num_updates --sizes 1 5 20 --lifetimes 15

Prints compile time, seconds per meta-step (median), interactions per second, memory, and the rate
of the rule's LSTM arithmetic beside that of the best matmul timed in the same process; on request
the share of each stage; over several sizes, also the exponents of a power law fitted to time and
memory. A table, and one line of JSON a size.
"""

import json
import math
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from typing import Literal

import tyro

from metatrain.devices.cpu_cores import use_every_core

use_every_core()  # before the imports below, which take a device

from preset_options import PresetOptions  # noqa: E402


@dataclass(frozen=True)
class Benchmark(PresetOptions):
    vary: Literal["lifetimes", "num_envs", "num_updates", "hidden_size"] = "lifetimes"
    """What `sizes` are sizes of."""
    sizes: tuple[int, ...] = ()
    """Measured one after the other; the preset's alone where not given."""
    calls: int = 3
    """Timed, after one of a single meta-step that is not."""
    meta_steps: int = 5
    """Of one timed call: a call allocates its memory anew, which a log interval pays once."""
    fused_lstm: bool = False
    """On TPU, the rule's LSTM as one kernel."""
    remat: Literal["auto", "yes", "no"] = "auto"
    """Recompute agent updates in the backward pass, or keep what they made."""
    lifetimes_per_chunk: int | None = None
    """As metatrain's flag."""
    stages: bool = False
    """Where the time goes, too, from programs that leave a stage out: five more to compile."""
    output: str = ""
    """A file to append one JSON line a size to."""

    def config(self):
        """The preset with all of this applied; `sizes` must hold one size or none."""
        config = super().config()
        rule = replace(config.rule, fused_lstm=self.fused_lstm)
        changed = {}
        for size in self.sizes:
            if self.vary == "hidden_size":
                rule = replace(rule, hidden_size=size)
            else:
                changed[self.vary] = size
        return replace(
            config, rule=rule, remat={"auto": None, "yes": True, "no": False}[self.remat],
            lifetimes_per_chunk=self.lifetimes_per_chunk, **changed,
        )  # fmt: skip


def measure(benchmark: Benchmark) -> dict:
    import jax
    from stages import stage_seconds

    from metatrain.engine import Engine
    from metatrain.inner_update import recompute
    from metatrain.memory import needed_bytes

    config = benchmark.config()
    engine = Engine(config.rule, config)
    started = time.perf_counter()
    needed = needed_bytes(engine)
    compile_seconds = time.perf_counter() - started
    state = jax.block_until_ready(engine.init(jax.random.key(0)))
    matmul = matmul_rate(config.rule.hidden_size)
    seconds = []
    for call in range(benchmark.calls + 1):
        steps = benchmark.meta_steps if call else 1
        started = time.perf_counter()
        state, _ = jax.block_until_ready(engine.run(state, steps))
        seconds.append((time.perf_counter() - started) / steps)
    step = statistics.median(seconds[1:])
    matmul = max(matmul, matmul_rate(config.rule.hidden_size))
    # The two LSTM matmuls forward, twice backward, and once more where gates are computed again:
    # always on CPU, with remat elsewhere.
    passes = 4 if engine.platform == "cpu" or recompute(config, engine.cohorts) else 3
    flops = passes * 2 * (6 + config.rule.hidden_size) * 4 * config.rule.hidden_size
    interactions = config.interactions_per_meta_step
    memory = jax.local_devices()[0].memory_stats() or {}
    peak = memory.get("peak_bytes_in_use")
    if peak is None:  # CPU: the process's resident set
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    size = benchmark.sizes[0] if benchmark.sizes else config.lifetimes
    row = {
        benchmark.vary: size,
        "environments": len(config.envs),
        "device": jax.devices()[0].device_kind,
        "devices": engine.mesh.size,
        "chunks": engine.num_chunks,
        "compile_s": round(compile_seconds, 1),
        "s_per_meta_step": round(step, 4),
        "interactions_per_s": round(interactions / step),
        "program_gb": round(needed / 1e9, 3),
        "peak_gb": round(peak / 1e9, 2),
        "lstm_gflop_per_s": round(interactions * flops / step / 1e9, 1),
        "matmul_gflop_per_s": round(matmul / 1e9, 1),
    }
    if benchmark.stages:
        stages = stage_seconds(engine, benchmark.calls, benchmark.meta_steps)
        whole = sum(stages.values())
        row |= {f"{name}, %": round(100 * s / whole, 1) for name, s in stages.items()}
    return row


def matmul_rate(hidden: int) -> float:
    """FLOP/s of a float32 [1280, h] x [h, 4h] product, the LSTM's shape at 20 lifetimes: the best
    of several timings."""
    import jax
    import jax.numpy as jnp

    a, b = jnp.ones((1280, hidden)), jnp.ones((hidden, 4 * hidden))
    product = jax.jit(lambda a, b: jax.lax.fori_loop(0, 20, lambda _, c: (c @ b)[:, :hidden], a))
    jax.block_until_ready(product(a, b))
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        jax.block_until_ready(product(a, b))
        seconds.append(time.perf_counter() - started)
    return 20 * 2 * 1280 * hidden * 4 * hidden / min(seconds)


def exponent(sizes: list[float], values: list[float]) -> float:
    """Slope of the least-squares line through (log size, log value)."""
    return statistics.linear_regression(list(map(math.log, sizes)), list(map(math.log, values)))[0]


def main() -> None:
    benchmark = tyro.cli(Benchmark)
    if len(benchmark.sizes) <= 1:
        row = measure(benchmark)
        for name, value in row.items():
            print(f"{name:34s} {value}")
        report([row], benchmark.output)
        return
    given = sys.argv[1:]
    start = given.index("--sizes")
    end = next((i for i in range(start + 1, len(given)) if given[i].startswith("--")), len(given))
    others, rows = given[:start] + given[end:], []
    for size in benchmark.sizes:
        command = [sys.executable, __file__, *others, "--sizes", str(size)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"{size} failed: {done.stderr.strip().splitlines()[-1]}")
            continue
        rows.append(json.loads(done.stdout.strip().splitlines()[-1]))
        if len(rows) == 1:
            print(" | ".join(rows[0]))
        print(" | ".join(str(v) for v in rows[-1].values()), flush=True)
    if len(rows) > 1:
        sizes = [row[benchmark.vary] for row in rows]
        for name in ("s_per_meta_step", "program_gb"):
            print(f"{name} grows as size^{exponent(sizes, [row[name] for row in rows]):.3f}")
    report(rows, benchmark.output)


def report(rows: list[dict], output: str) -> None:
    """As JSON, one line each."""
    lines = [json.dumps(row) for row in rows]
    print(*lines, sep="\n")
    if output:
        with open(output, "a") as file:
            file.writelines(line + "\n" for line in lines)


if __name__ == "__main__":
    main()
