"""MGRL with four metaparameters on the Atari table's eight games, by LVC and plain, and A2C.

    python scripts/lvc_mgrl.py --run-dir runs/lvc_mgrl --quick
    python scripts/lvc_mgrl.py --run-dir runs/lvc_mgrl
    python scripts/lvc_mgrl.py --run-dir runs/a --games Qbert Tennis --also runs/b    # split

One `metatest` command an algorithm, printed first: stopped, the same command goes on where it was.
All have 125,000 real updates (Liu et al. 2022, appendix I.3), of 64 environments x 5 steps: that is
160M frames without discard and 640M with, where three of four rollouts serve the meta-gradient
alone. The table is of each seed's last 64 whole games, by log lines; metaparameters over life are
in the reports and in `traces` of results.jsonl. `--also` has further run directories for the table.
"""

import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from metatest.algorithms import AlgorithmOptions, choose
from metatest.atari.games import resolve
from metatest.report.results import folder_name

GAMES = (
    "Asteroids", "Qbert", "Tennis", "BeamRider", "Alien", "Assault", "DoubleDunk", "Seaquest",
)  # fmt: skip
PLAIN = "surrogate=autodiff"
ALGORITHMS = {
    "LVC": "lvc_mgrl",
    "plain": f"lvc_mgrl[{PLAIN}]",
    "LVC, no discard": "lvc_mgrl[window=reuse]",
    "plain, no discard": f"lvc_mgrl[{PLAIN},window=reuse]",
    "A2C": "lvc_mgrl[]",
}
REAL_UPDATES, NUM_STEPS, NUM_ENVS, FRAMES_PER_STEP, LAST = 125_000, 5, 64, 4, 64


@dataclass(frozen=True)
class Study:
    """Play, then print the table."""

    run_dir: Path
    games: tuple[str, ...] = GAMES
    algorithms: tuple[str, ...] = tuple(ALGORITHMS)
    seeds: int = 5
    real_updates: int = REAL_UPDATES
    quick: bool = False
    """One game, one seed, three real updates: whether it runs."""
    also: tuple[Path, ...] = ()


def main() -> None:
    study = tyro.cli(Study)
    for label in study.algorithms:
        command = [sys.executable, "-m", "metatest", *arguments(study, ALGORITHMS[label])]
        print(shlex.join(command[1:]), flush=True)
        if code := subprocess.run(command).returncode:
            sys.exit(code)
    print(table((study.run_dir, *study.also)))


def arguments(study: Study, algorithm: str) -> list[str]:
    """Of metatest."""
    games, seeds = (study.games[:1], 1) if study.quick else (study.games, study.seeds)
    real_updates = 3 if study.quick else study.real_updates
    given = {
        "frames": frames(algorithm, real_updates),
        "num-steps": NUM_STEPS,
        "seeds": seeds,
        "log-every": 1 if study.quick else 500,
        "checkpoint-every": 2 if study.quick else 2000,
    }
    options = [x for name, n in given.items() for x in (f"--atari-options.{name}", str(n))]
    options += ["--atari-options.settings.life-loss", "--run-dir", str(folder(study, algorithm))]
    return ["--rule", algorithm, "--atari", *games, *options]


def folder(study: Study, algorithm: str) -> Path:
    """Each algorithm has a run directory of its own, as it has a number of frames of its own."""
    return study.run_dir / folder_name(algorithm)


def frames(algorithm: str, real_updates: int) -> int:
    """For so many real updates."""
    (chosen,) = choose((algorithm,), AlgorithmOptions())
    windows = -(-real_updates // getattr(chosen.learner, "real_updates", 1))
    return windows * chosen.learner.fresh * NUM_ENVS * NUM_STEPS * FRAMES_PER_STEP


def table(run_dirs: tuple[Path, ...]) -> str:
    """One row a game: means over seeds with standard errors, and how many seeds."""
    rows = [f"| | {' | '.join(ALGORITHMS)} |", "|---" * (len(ALGORITHMS) + 1) + "|"]
    for game in (x.name for x in resolve(GAMES)):
        cells = []
        for algorithm in ALGORITHMS.values():
            name = folder_name(algorithm)
            logs = [
                x
                for run_dir in run_dirs
                for x in sorted(run_dir.glob(f"{name}/atari/{game}/{name}/seed*/metrics.jsonl"))
            ]
            cells.append(_cell([x for log in logs if (x := last_games(log)) is not None]))
        rows.append(f"| {game} | {' | '.join(cells)} |")
    return "\n".join(rows)


def last_games(log: Path) -> float | None:
    """The mean score of the last log lines that hold LAST games; None where none has ended."""
    count, total = 0, 0.0
    for line in reversed([json.loads(x) for x in log.read_text().splitlines()]):
        if count < LAST and line["episodes"]:
            count += line["episodes"]
            total += line["episodes"] * line["score"]
    return total / count if count else None


def _cell(scores: list[float]) -> str:
    if not scores:
        return "–"
    error = f" ± {np.std(scores, ddof=1) / np.sqrt(len(scores)):.3g}" if len(scores) > 1 else ""
    return f"{np.mean(scores):.4g}{error} ({len(scores)})"


if __name__ == "__main__":
    main()
