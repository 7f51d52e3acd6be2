"""Interrupt a command again and again at random moments, and see that it always ends and goes on.

    python scripts/interruptions.py --how stop --trials 26 -- metatrain --preset quick --lifetimes 8
    python scripts/interruptions.py --how kill --trials 80 -- metatest --rule lpg-15 --envs short

Each trial starts the command, which takes up what the last one left, and interrupts it: by SIGINT
or SIGTERM, once or twice, or by SIGKILL. Some trials have no compilation cache, so that they are
interrupted in the midst of compiling. A run that came to its end is compared, file by file, with
one that nobody interrupted, and another begins.
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

LIMIT = 10.0  # seconds from the first signal to the end
SOUND = {"stop": (0, 130, 143), "kill": (0, -9)}  # exit codes


@dataclass(frozen=True)
class Interruptions:
    """Behind -- the command, metatrain or metatest, and its options, but for --run-dir."""

    how: Literal["stop", "kill"] = "stop"
    """By SIGINT and SIGTERM, or by SIGKILL."""
    trials: int = 26
    """Interruptions."""
    seed: int = 0
    """Of the random moments."""
    same: tuple[str, ...] = ("rule.safetensors", "rule_last.safetensors", "results.jsonl")
    """Files that come out as of an undisturbed run, where it has them."""
    uncached: float = 0.3
    """Share of the trials without a compilation cache."""


@dataclass
class Trials:
    """What came of them."""

    asked: Interruptions
    command: list[str]
    folder: Path
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    finished: int = 0

    def start(self, run_dir: Path, cached: bool = True) -> subprocess.Popen:
        """The command, in a session of its own."""
        program, *options = self.command
        environment = dict(os.environ)
        if not cached:
            environment["JAX_COMPILATION_CACHE_DIR"] = ""
        return subprocess.Popen(
            [sys.executable, "-m", program, *options, "--run-dir", str(run_dir)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            start_new_session=True,
        )

    def undisturbed(self) -> tuple[dict[str, str], float]:
        """What a run comes to, and the seconds that it takes."""
        run_dir = self.folder / "undisturbed"
        begun = time.monotonic()
        process = self.start(run_dir)
        said = process.communicate()[0]
        if process.returncode:
            sys.exit(f"The command fails by itself:\n{said}")
        return self.digests(run_dir), time.monotonic() - begun

    def digests(self, run_dir: Path) -> dict[str, str]:
        """Of the files that have to be the same."""
        files = (run_dir / name for name in self.asked.same)
        return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files if f.exists()}

    def interrupt(self, run_dir: Path, delay: float, draws: random.Random) -> bool:
        """One trial; whether the run is over."""
        kill = self.asked.how == "kill"
        numbers = [signal.SIGKILL] if kill else [draws.choice((signal.SIGINT, signal.SIGTERM))]
        if not kill and draws.random() < 0.5:
            numbers.append(draws.choice((signal.SIGINT, signal.SIGTERM)))
        process = self.start(run_dir, draws.random() >= self.asked.uncached)
        time.sleep(delay)
        told = time.monotonic()
        for number in numbers:
            if process.poll() is None:
                process.send_signal(number)
                time.sleep(draws.random())
        try:
            said = process.communicate(timeout=60)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            said = process.communicate()[0] + "\nit did not end"
        took = time.monotonic() - told
        self.slowest = max(self.slowest, took)
        sound = process.returncode in SOUND[self.asked.how] and "Traceback" not in said
        if not sound or took > LIMIT:
            names = "+".join(n.name for n in numbers)
            self.faults.append(
                f"{names} after {delay:.2f} s: exit {process.returncode} in {took:.1f} s\n{said}"
            )
        return process.returncode == 0 and "to go on" not in said

    def end(self, run_dir: Path, wanted: dict[str, str]) -> None:
        """Let the run come to its end, look at it, and make room for another."""
        process = self.start(run_dir)
        said = process.communicate()[0]
        if process.returncode or self.digests(run_dir) != wanted:
            self.faults.append(f"the end differs from an undisturbed run's:\n{said}")
        self.finished += 1
        shutil.rmtree(run_dir)


def main() -> None:
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    asked = tyro.cli(Interruptions, args=arguments[:cut])
    folder = Path(tempfile.mkdtemp(prefix="interruptions-"))
    trials = Trials(asked, arguments[cut + 1 :], folder)
    wanted, seconds = trials.undisturbed()
    draws = random.Random(asked.seed)
    run_dir = folder / "run"
    for trial in range(asked.trials):
        delay = draws.uniform(0.05, seconds)
        over = trials.interrupt(run_dir, delay, draws)
        if over or trial == asked.trials - 1:
            trials.end(run_dir, wanted)
        print(f"{trial + 1}/{asked.trials}: after {delay:.2f} s{', over' * over}", flush=True)
    print("\n".join(trials.faults))
    print(
        f"{asked.trials} trials, {len(trials.faults)} faults, {trials.finished} runs to their end, "
        f"slowest end of a trial {trials.slowest:.1f} s"
    )
    shutil.rmtree(folder, ignore_errors=True)
    sys.exit(bool(trials.faults))


if __name__ == "__main__":
    main()
