"""The table of results that the console shows."""

from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from lpg.runs.tables import print_table
from metatest.report.comparison import by_row
from metatest.report.number import decimals
from metatest.report.results import arm_words
from metatest.report.statistics import by_environment, label, only, random_returns
from metatest.report.write import Report


def print_report(report: Report, directory: Path) -> None:
    """The table, and where the page is."""
    print_table(as_table(report))
    print(f"Report: {directory / 'report.html'}")


def cell(value: float | None, error: float | None = None) -> str:
    """A figure with its standard error, to as many digits as the size calls for."""
    if value is None or not np.isfinite(value):
        return "-"
    digits = decimals(value)
    return f"{value:.{digits}f}" + ("" if error is None else f" ±{error:.{digits}f}")


def as_table(report: Report) -> Table:
    """Environments with their algorithms, and a random policy where it was measured, below them.
    Names are text, whatever is in them."""
    compared, run = by_row(report.comparisons), only(s.run for s in report.summaries)
    table = Table(
        title="Fresh agents, last tenth of life",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    table.add_column("environment, algorithm", overflow="fold")
    table.add_column("return ± s.e.", justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    for heading in ("lr, alpha_y", "steps", "seeds"):
        table.add_column(heading, justify="right", no_wrap=heading != "seeds")
    for env, rows in by_environment(report.summaries).items():
        table.add_row(Text(env))
        for s in rows:
            unit = "" if s.metric == "return" else f" ({s.metric})"
            seeds = f"{s.seeds}" + (f" ({s.diverged} diverged)" if s.diverged else "")
            verdicts = "\n".join(c.words() for c in compared.get((s.run, s.env, s.algorithm), ()))
            table.add_row(
                Text(f"  {label(s.run, s.algorithm, run)}{unit}"),
                cell(s.mean, s.standard_error),
                Text(verdicts),
                arm_words(s.learning_rate, s.prediction_cost),
                f"{s.steps:,}",
                seeds,
            )
        for chance in random_returns(rows):
            table.add_row("  random policy", cell(chance))
    return table
