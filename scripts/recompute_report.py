"""Recompute the figures of a report from results.jsonl, sharing no code with the report.

    python scripts/recompute_report.py RUN_DIR

Exits with 1, naming the figures, where summary.json says anything else.
"""

import json
import sys
from pathlib import Path

import numpy as np


def middle_mean(values: np.ndarray) -> float:
    ordered = np.sort(values)
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def late(row: dict) -> tuple[str, np.ndarray]:
    if None not in row["late_return"]:
        return "return", np.array(row["late_return"], float)
    return "reward per step", np.array(row["late_reward_per_step"], float)


def expected(row: dict, others: list[dict]) -> dict[str, float | None]:
    metric, values = late(row)
    figures: dict[str, float | None] = {"mean": values.mean(), "iqm": middle_mean(values)}
    n = len(values)
    figures["standard_error"] = (
        float(np.sqrt(((values - values.mean()) ** 2).sum() / (n - 1) / n)) if n > 1 else None
    )
    low, high = row["random_return"], row["reference_return"]
    known = metric == "return" and low is not None and high is not None
    figures["normalised_mean"] = ((values - low) / (high - low)).mean() if known else None
    for other in others:
        their_metric, theirs = late(other)
        if their_metric == metric:
            wins = (values[:, None] > theirs[None]) + 0.5 * (values[:, None] == theirs[None])
            figures[f"better than {other['algorithm']}"] = wins.mean()
    return figures


def reported(row: dict) -> dict[str, float | None]:
    figures = {k: row[k] for k in ("mean", "standard_error", "normalised_mean")}
    figures["iqm"] = row["iqm"]["value"]
    figures |= {f"better than {k}": v["value"] for k, v in row["improvement"].items()}
    return figures


def differs(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is not b
    return not np.isclose(a, b, rtol=1e-9, atol=1e-12)


def main() -> int:
    folder = Path(sys.argv[1])
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    summary = json.loads((folder / "summary.json").read_text())["rows"]
    wrong = 0 if len(rows) == len(summary) else 1
    for row, said in zip(rows, summary, strict=False):
        others = [o for o in rows if o["env"] == row["env"] and o is not row]
        ours, theirs = expected(row, others), reported(said)
        for name in sorted(ours.keys() | theirs.keys()):
            if differs(ours.get(name), theirs.get(name)):
                wrong += 1
                figures = f"{theirs.get(name)} reported, {ours.get(name)} recomputed"
                print(f"{row['env']} {row['algorithm']} {name}: {figures}")
    print(f"{len(rows)} rows, {wrong} differences")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
