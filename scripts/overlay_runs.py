"""Meta-training curves of several runs in one picture, from their metrics.jsonl alone.

    python scripts/overlay_runs.py docs/precision.png float32=runs/demo bfloat16=runs/bfloat16

Drawn is the late-life return, a mean over environments, smoothed over a twentieth of the log lines.
"""

import sys
from pathlib import Path

from lpg.runs import figures
from metatrain.records.plots import log_lines, mean_of_curves, meta_steps, series, smooth


def main() -> None:
    path, *runs = sys.argv[1:]
    folders = {name: Path(folder) for name, _, folder in (run.partition("=") for run in runs)}
    with figures.panels(Path(path), 1, 1, (6.0, 4.0)) as (_, (axis,)):
        lines = {}
        for name, look in figures.looks(folders).items():
            records = log_lines(folders[name])
            curves = [series(records, env, "late_return") for env in records[0]["environments"]]
            mean = smooth(mean_of_curves(curves), len(records) // 20)
            (lines[name],) = axis.plot(meta_steps(records), mean, **look)
        axis.set(xlabel="meta-step", ylabel="late-life return, mean over environments")
        figures.legend(axis, lines)


if __name__ == "__main__":
    main()
