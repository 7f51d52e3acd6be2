"""The curve of a meta-training run, short enough to lie beside a shipped rule: JSON lines.

    python scripts/curve.py runs/mine --every 100 > lpg/shipped/mine.jsonl

A line is the mean over the log lines of so many meta-steps: late returns, normalised as in training
(0 a random policy, 1 the best possible), policy entropies in nats, and what predictions know,
ln m - H(y). Validations have their score in the line that they fell into.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from envs.suite import SUITE, normalised_return
from metatrain.records.plots import log_lines

FIGURES = ("policy_entropy", "prediction_information")  # beside late returns


@dataclass(frozen=True)
class Curve:
    """Print a run's curve."""

    run: tyro.conf.Positional[Path]
    every: int = 100
    """Meta-steps of one line."""


def main() -> None:
    command = tyro.cli(Curve)
    lines = log_lines(command.run)
    last = lines[-1]["meta_step"]
    for end in range(command.every, last + command.every, command.every):
        own = [x for x in lines if end - command.every < x["meta_step"] <= end]
        if own:
            print(json.dumps(mean(own)))


def mean(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Of log lines that follow each other."""
    names = lines[0]["environments"]
    late = {name: [x["environments"][name]["late_return"] for x in lines] for name in names}
    joined: dict[str, Any] = {
        "meta_step": lines[-1]["meta_step"],
        "interactions": lines[-1]["interactions"],
        "gradient_norm": average([x["gradient_norm"] for x in lines]),
        "late_normalised": {name: normalised(name, average(x)) for name, x in late.items()},
    }
    for figure in FIGURES:
        each = {name: [x["environments"][name][figure] for x in lines] for name in names}
        joined[figure] = {name: average(x) for name, x in each.items()}
    scores = [x["validation"]["score"] for x in lines if "validation" in x]
    return {**joined, "validation": scores[-1]} if scores else joined


def average(values: list[float | None]) -> float | None:
    known = [x for x in values if x is not None]
    return round(float(np.mean(known)), 4) if known else None


def normalised(name: str, value: float | None) -> float | None:
    return None if value is None or name not in SUITE else round(normalised_return(name, value), 3)


if __name__ == "__main__":
    main()
