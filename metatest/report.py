"""What a meta-test shows: a table, results.jsonl, and learning curves."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from rich.table import Table

from metatest.results import Result


def mean_and_error(values: list[Any]) -> tuple[float, float]:
    """Mean and standard error of the mean over seeds; None values are left out."""
    present = np.array([v for v in values if v is not None], float)
    if present.size == 0:
        return float("nan"), float("nan")
    error = present.std(ddof=1) / np.sqrt(present.size) if present.size > 1 else float("nan")
    return float(present.mean()), float(error)


def _cell(values: list[Any], digits: int) -> str:
    mean, error = mean_and_error(values)
    if np.isnan(mean):
        return "-"
    return f"{mean:.{digits}f}" + ("" if np.isnan(error) else f" ±{error:.{digits}f}")


def as_table(results: list[Result]) -> Table:
    table = Table(title="Fresh agents, last tenth of life (mean ± standard error over seeds)")
    for heading in (
        "environment",
        "algorithm",
        "lr",
        "alpha_y",
        "reward/step",
        "return",
        "random",
        "diverged",
    ):
        table.add_column(heading, justify="left" if len(table.columns) < 2 else "right")
    for result in results:
        table.add_row(
            result.env,
            result.algorithm,
            f"{result.learning_rate:g}",
            f"{result.kl_cost:g}" if result.kl_cost else "-",
            _cell(result.late_reward_per_step, 4),
            _cell(result.late_return, 3),
            _cell([result.random_return], 3),
            str(result.diverged),
        )
    return table


def draw_curves(results: list[Result], path: Path) -> None:
    """Mean episode return over agent updates, one panel an environment, bands of ±1 s.e."""
    names = list(dict.fromkeys(result.env for result in results))
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.6 * columns, 3.4 * rows), squeeze=False)
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, names, strict=False):
        for result in (r for r in results if r.env == name):
            points = [mean_and_error(values) for values in result.reward_per_step]
            mean, error = np.array(points).T
            (line,) = axis.plot(result.updates, mean, label=result.algorithm)
            error = np.nan_to_num(error)
            axis.fill_between(
                result.updates, mean - error, mean + error, alpha=0.25, color=line.get_color()
            )
        axis.axhline(0, color="grey", linestyle=":", linewidth=1)
        axis.set(title=name, xlabel="agent updates", ylabel="reward per step")
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
