"""Meta-train `quick` with each surrogate at K = 5 and 20, and probe every rule.

    python scripts/surrogates.py run --seeds 0 1
    python scripts/surrogates.py table docs/bias/surrogates.jsonl

All see as many interactions: 1,200 windows of 5 updates, or 300 of 20. `run` goes seed by seed, so
that whatever it came to can be compared, and appends to the log what is not there; a run that was
stopped goes on where it was. `table` prints means over seeds with standard errors.
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


def main() -> None:
    command = tyro.extras.subcommand_cli_from_dict({"run": All, "table": Table})
    if isinstance(command, Table):
        print(table(read(command.log)))
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


def table(lines: list[dict[str, Any]]) -> str:
    """One row a setting: means over seeds (standard errors)."""
    rows = [
        "| K | surrogate | seeds | L > 20 | L > 20, four arms | L > 20, y cut | L ≤ 20 "
        "| collapsed, four arms | validation |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    columns: tuple[Callable[[dict[str, Any]], Any], ...] = (
        lambda x: x["long_by_arm"][0],
        lambda x: np.mean(x["long_by_arm"]),
        lambda x: x["long_y_cut"],
        lambda x: x["short"],
        lambda x: np.mean(x["collapsed_by_arm"]),
        lambda x: x["validation"],
    )
    for k, surrogate in product(UPDATES, get_args(LearnedSurrogate)):
        found = [x for x in lines if x["name"] == f"{surrogate}-K{k}"]
        if found:
            means = " | ".join(_mean([float(column(x)) for x in found]) for column in columns)
            rows.append(f"| {k} | {surrogate} | {len(found)} | {means} |")
    return "\n".join(rows)


def _mean(values: list[float]) -> str:
    error = "" if len(values) < 2 else f" ({np.std(values, ddof=1) / np.sqrt(len(values)):.2f})"
    return f"{np.mean(values):.2f}{error}"


if __name__ == "__main__":
    main()
