"""Every measurement that needs an accelerator, in one command of at most ten minutes, no network.

    python scripts/measure_accelerator.py --output results
    python scripts/measure_accelerator.py --output rehearsal --preset quick   # on a CPU

Each step runs in a process of its own with a limit of its own; what a step printed is in
`OUTPUT/NAME.log`, whatever became of the others. Steps that are done are not run again.
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

SCRIPTS = Path(__file__).parent
PYTHON = sys.executable


def steps(preset: str) -> list[tuple[str, list[str], int]]:
    """Name, command and limit in seconds, in the order of importance."""

    def bench(*arguments: str) -> list[str]:
        return [PYTHON, str(SCRIPTS / "bench_metatrain.py"), "--preset", preset, *arguments]

    def growth(what: str, *sizes: str) -> list[str]:
        return bench("--vary", what, "--lifetimes", "240", "--sizes", *sizes)

    return [
        ("metatrain", bench(), 150),
        ("stages", bench("--stages"), 240),
        ("kernels", [PYTHON, str(SCRIPTS / "profile_kernels.py"), "--preset", preset], 150),
        ("float32", bench("--precision", "float32"), 120),
        ("fused", bench("--fused-lstm"), 120),  # on TPU, else refused at once
        ("lifetimes", bench("--sizes", "120", "480", "1920"), 240),
        ("num_envs", growth("num_envs", "16", "256"), 150),
        ("num_updates", growth("num_updates", "1", "20"), 150),
        ("hidden_size", growth("hidden_size", "64", "512"), 150),
        ("convolution", [PYTHON, str(SCRIPTS / "bench_convolution.py"), "--lifetimes", "64"], 60),
        ("metatest", [PYTHON, str(SCRIPTS / "bench_metatest.py")], 120),
        ("tests", [PYTHON, "-m", "pytest", "-q", "tests/lpg", "tests/metatrain"], 400),
    ]


@dataclass(frozen=True)
class Measure:
    output: Path
    """Where logs go."""
    preset: str = "paper"
    """What is measured; a smaller one rehearses it."""
    only: tuple[str, ...] = ()
    """Steps by name; all where not given."""
    seconds: int = 570
    """After which no step goes on."""


def run(command: list[str], log: Path, seconds: float) -> int | None:
    """The exit code, or None where time was up: then nothing that the command started lives on."""
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:  # Ctrl-C too
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def main() -> None:
    measure = tyro.cli(Measure)
    planned = steps(measure.preset)
    unknown = set(measure.only) - {name for name, _, _ in planned}
    if unknown:
        known = ", ".join(name for name, _, _ in planned)
        sys.exit(f"Unknown step {unknown.pop()!r}; known are {known}.")
    measure.output.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + measure.seconds
    for name, command, limit in planned:
        log, done = measure.output / f"{name}.log", measure.output / f"{name}.done"
        left = min(limit, int(end - time.monotonic()))
        if (measure.only and name not in measure.only) or done.exists():
            continue
        if left < 10:
            print(f"{name}: no time left; run again to go on")
            continue
        started = time.monotonic()
        code = run(command, log, left)
        outcome = "over its time" if code is None else f"exit {code}"
        print(f"{name}: {outcome}, {time.monotonic() - started:.0f} s, {log}", flush=True)
        if code == 0:
            done.touch()


if __name__ == "__main__":
    main()
