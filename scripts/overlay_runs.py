"""Meta-training curves of several runs in one picture, from their metrics.jsonl alone.

    python scripts/overlay_runs.py docs/precision.png float32=runs/demo bfloat16=runs/bfloat16

Drawn is the late-life return, a mean over environments, smoothed over a twentieth of the log lines.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from metatrain.records.plots import log_lines, mean_of_curves, series, smooth


def main() -> None:
    path, *runs = sys.argv[1:]
    figure, axis = plt.subplots(figsize=(6, 4))
    for run in runs:
        name, _, folder = run.partition("=")
        records = log_lines(Path(folder))
        curves = [series(records, env, "late_return") for env in records[0]["environments"]]
        steps = [record["meta_step"] for record in records]
        axis.plot(steps, smooth(mean_of_curves(curves), len(records) // 20), label=name)
    axis.set(xlabel="meta-step", ylabel="late-life return, mean over environments")
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
