"""Time and memory of one meta-step as a function of lifetimes, each size in a process of its own.

    python scripts/bench_metatrain.py --preset paper --lifetimes 15 30 60
    python scripts/bench_metatrain.py --envs dense sparse long_horizon longer_horizon long_dense \
        --lifetimes 20

Prints compile time, seconds per meta-step (median), interactions per second, peak memory, and the
share that is the rule's LSTM arithmetic of a matmul's rate timed in the same process.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import tyro

from lpg.architecture import Precision


@dataclass(frozen=True)
class Benchmark:
    preset: str = "paper"
    """Preset to start from."""
    envs: tuple[str, ...] = ()
    """Environments in place of the preset's."""
    lifetimes: tuple[int, ...] = (15, 30, 60)
    """Sizes to measure."""
    meta_steps: int = 3
    """Timed meta-steps after a first one."""
    precision: Precision = "auto"
    """Of the rule's LSTM."""
    no_remat: bool = False
    """Keep all activations instead of recomputing them."""
    output: str = ""
    """A file to append one JSON line a size to."""


def measure(benchmark: Benchmark, lifetimes: int) -> dict:
    import jax
    import jax.numpy as jnp

    from metatrain.engine import Engine
    from metatrain.presets import PRESETS

    config = PRESETS[benchmark.preset]
    config = replace(
        config,
        envs=benchmark.envs or config.envs,
        lifetimes=lifetimes,
        rule=replace(config.rule, precision=benchmark.precision),
        remat=config.remat and not benchmark.no_remat,
    )
    engine = Engine(config.rule, config)
    state = jax.block_until_ready(engine.init(jax.random.key(0)))
    started = time.perf_counter()
    program = engine.run.lower(state, jnp.int32(1)).compile()
    compile_seconds = time.perf_counter() - started
    seconds = []
    for _ in range(benchmark.meta_steps + 1):
        started = time.perf_counter()
        state, _ = jax.block_until_ready(program(state, jnp.int32(1)))
        seconds.append(time.perf_counter() - started)
    step = statistics.median(seconds[1:])
    # Forward, backward and, with remat, forward again of the two LSTM matmuls.
    passes = 4 if config.remat else 3
    flops = passes * 2 * (6 + config.rule.hidden_size) * 4 * config.rule.hidden_size
    interactions = config.interactions_per_meta_step
    memory = jax.local_devices()[0].memory_stats() or {}
    peak = memory.get("peak_bytes_in_use")
    if peak is None:  # CPU: the process's resident set
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "lifetimes": lifetimes,
        "environments": len(config.envs),
        "device": jax.devices()[0].device_kind,
        "compile_s": round(compile_seconds, 1),
        "s_per_meta_step": round(step, 3),
        "interactions_per_s": round(interactions / step),
        "peak_gb": round(peak / 1e9, 2),
        "lstm_gflop_per_s": round(interactions * flops / step / 1e9, 1),
        "matmul_gflop_per_s": round(matmul_rate() / 1e9, 1),
    }


def matmul_rate() -> float:
    """FLOP/s of a [1280, 256] x [256, 1024] product, the LSTM's shape at 20 lifetimes."""
    import jax
    import jax.numpy as jnp

    a, b = jnp.ones((1280, 256)), jnp.ones((256, 1024))
    product = jax.jit(lambda a, b: jax.lax.fori_loop(0, 20, lambda _, c: (c @ b)[:, :256], a))
    jax.block_until_ready(product(a, b))
    started = time.perf_counter()
    for _ in range(5):
        jax.block_until_ready(product(a, b))
    return 5 * 20 * 2 * 1280 * 256 * 1024 / (time.perf_counter() - started)


def main() -> None:
    benchmark = tyro.cli(Benchmark)
    if len(benchmark.lifetimes) == 1:
        print(json.dumps(measure(benchmark, benchmark.lifetimes[0])))
        return
    rows = []
    for lifetimes in benchmark.lifetimes:
        command = [sys.executable, __file__, "--preset", benchmark.preset, "--lifetimes"]
        command += [str(lifetimes), "--meta-steps", str(benchmark.meta_steps)]
        command += ["--envs", *benchmark.envs] if benchmark.envs else []
        command += ["--precision", benchmark.precision]
        command += ["--no-remat"] if benchmark.no_remat else []
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"{lifetimes} lifetimes failed: {done.stderr.strip().splitlines()[-1]}")
            continue
        rows.append(json.loads(done.stdout.strip().splitlines()[-1]))
        if len(rows) == 1:
            print(" | ".join(rows[0]))
        print(" | ".join(str(v) for v in rows[-1].values()), flush=True)
    if benchmark.output:
        with open(benchmark.output, "a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    main()
