"""Meta-training curves of several runs in one picture, from their metrics.jsonl alone.

    python scripts/overlay_runs.py docs/precision.png float32=runs/demo bfloat16=runs/bfloat16

Drawn is the late-life return, a mean over environments, smoothed over a twentieth of the log lines.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np


def late_return(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Meta-steps, and the mean over environments of the late-life return, NaN where none ended."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = np.array([record["meta_step"] for record in records])
    returns = [[e["late_return"] for e in r["environments"].values()] for r in records]
    values = np.array(returns, dtype=float)  # None becomes NaN
    present = ~np.isnan(values)
    total = np.where(present, values, 0.0).sum(axis=1)
    return steps, np.where(present.any(axis=1), total / np.maximum(present.sum(axis=1), 1), np.nan)


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Mean over the last `width` log lines, of those that are there."""
    windows = [values[max(0, i - width + 1) : i + 1] for i in range(len(values))]
    return np.array([np.nanmean(w) if np.isfinite(w).any() else np.nan for w in windows])


def main() -> None:
    path, *runs = sys.argv[1:]
    figure, axis = plt.subplots(figsize=(6, 4))
    for run in runs:
        name, _, folder = run.partition("=")
        steps, values = late_return(Path(folder))
        axis.plot(steps, smooth(values, max(1, len(steps) // 20)), label=name)
    axis.set(xlabel="meta-step", ylabel="late-life return, mean over environments")
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
