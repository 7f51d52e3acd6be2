"""Meta-train `quick` with each surrogate at K = 5 and 20, and probe every rule.

    python scripts/surrogates.py run --seeds 0 1
    python scripts/surrogates.py table docs/bias/surrogates.jsonl
    python scripts/surrogates.py draw docs/bias/surrogates.jsonl

All see as many interactions: 1,200 windows of 5 updates, or 300 of 20. `run` goes seed by seed, so
that whatever it came to can be compared, and appends to the log what is not there; a run that was
stopped goes on where it was. `table` prints means over seeds with standard errors, `draw` leaves
every seed as a picture beside the log.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import tyro
from experiment import Run, Table, read
from experiment import run as run_one

from lpg.losses.estimators import LearnedSurrogate
from lpg.runs.figures import legend, looks, panels, samples, title

UPDATES = {5: (1200, 300), 20: (300, 75)}  # K: meta-steps, and those between two validations


@dataclass(frozen=True)
class All:
    """Meta-train and probe what the log lacks."""

    seeds: tuple[int, ...] = (0, 1, 2, 3)
    updates: tuple[int, ...] = tuple(UPDATES)
    surrogates: tuple[str, ...] = get_args(LearnedSurrogate)
    log: Path = Path("docs/bias/surrogates.jsonl")
    runs: Path = Path("runs/surrogates")
    """Where run directories go."""


@dataclass(frozen=True)
class Draw:
    """The lines of a log as a picture beside it."""

    log: tyro.conf.Positional[Path]


Line = dict[str, Any]
Column = Callable[[Line], Any]
COLUMNS: dict[str, Column] = {
    "L > 20, first arm": lambda x: x["long_by_arm"][0],
    "L > 20, four arms": lambda x: np.mean(x["long_by_arm"]),
    "L > 20, worst arm": lambda x: np.min(x["long_by_arm"]),
    "L > 20, y cut": lambda x: x["long_y_cut"],
    "L ≤ 20": lambda x: x["short"],
    "collapsed lives": lambda x: np.mean(x["collapsed_by_arm"]),
    "validation": lambda x: x["validation"],
    "entropy without reward": lambda x: x["reward_free_network"],
}


def main() -> None:
    command = tyro.extras.subcommand_cli_from_dict({"run": All, "table": Table, "draw": Draw})
    if isinstance(command, Table):
        print(table(read(command.log)))
        return
    if isinstance(command, Draw):
        draw(read(command.log), command.log.with_suffix(".png"))
        return
    for seed, k, surrogate in product(command.seeds, command.updates, command.surrogates):
        name, arguments = f"{surrogate}-K{k}", arguments_of(surrogate, k)
        if (name, seed) in [(x["name"], x["seed"]) for x in read(command.log)]:
            continue
        print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
        line = run_one(Run(name, (seed,), command.log, command.runs), arguments, seed)
        command.log.parent.mkdir(parents=True, exist_ok=True)
        with command.log.open("a") as file:
            file.write(json.dumps(line) + "\n")


def arguments_of(surrogate: str, num_updates: int) -> list[str]:
    """metatrain's, but for seed and run directory."""
    meta_steps, validate_every = UPDATES[num_updates]
    return [
        *("--preset", "quick", "--rule.surrogate", surrogate, "--num-updates", str(num_updates)),
        *("--meta-steps", str(meta_steps), "--validate-every", str(validate_every)),
    ]


def table(lines: list[Line]) -> str:
    """One row a setting: means over seeds (standard errors)."""
    rows = [f"| K | surrogate | seeds | {' | '.join(COLUMNS)} |", "|---" * (3 + len(COLUMNS)) + "|"]
    for k, surrogate in product(UPDATES, get_args(LearnedSurrogate)):
        if found := _of(lines, surrogate, k):
            means = (_mean([float(of(x)) for x in found]) for of in COLUMNS.values())
            rows.append(f"| {k} | {surrogate} | {len(found)} | {' | '.join(means)} |")
    return "\n".join(rows)


def draw(lines: list[Line], path: Path) -> None:
    """A mark for each seed, a bar at their mean."""
    surrogates = get_args(LearnedSurrogate)
    names = {k: f"K = {k}" for k in UPDATES}
    look = looks(names.values())
    with panels(path, len(COLUMNS), 4, (3.0, 2.2)) as (figure, axes):
        for axis, (name, of) in zip(axes, COLUMNS.items(), strict=True):
            title(axis, name)
            for (place, surrogate), (j, k) in product(enumerate(surrogates), enumerate(UPDATES)):
                values = [float(of(x)) for x in _of(lines, surrogate, k)]
                if values:
                    x, colour = place + 0.3 * j - 0.15, look[names[k]]["color"]
                    axis.plot([x] * len(values), values, "o", color=colour, alpha=0.5)
                    axis.hlines(np.mean(values), x - 0.12, x + 0.12, color=colour)
            axis.set_xticks(range(len(surrogates)), surrogates, rotation=20)
        dots = {name: dict(own, marker="o") for name, own in look.items()}
        legend(figure, samples(dots))


def _of(lines: list[Line], surrogate: str, k: int) -> list[Line]:
    return [x for x in lines if x["name"] == f"{surrogate}-K{k}"]


def _mean(values: list[float]) -> str:
    error = "" if len(values) < 2 else f" ({np.std(values, ddof=1) / np.sqrt(len(values)):.2f})"
    return f"{np.mean(values):.2f}{error}"


if __name__ == "__main__":
    main()
