"""What a meta-test shows: a console table, curves, summary.json and report.html."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from rich import box
from rich.markup import escape
from rich.table import Table

from lpg.files.storage import write_atomically
from metatest.report.comparison import Comparison, by_row, compare, counts
from metatest.report.failures import load_failures
from metatest.report.html import decimals, page
from metatest.report.results import Result, arm_words, load_results
from metatest.report.run_record import read_record
from metatest.report.statistics import Summary, aggregate, summarise
from metatest.report.traces import draw_traces


class Report(NamedTuple):
    """What the figures of a report are."""

    summaries: list[Summary]
    comparisons: list[Comparison]


def write_report(output: Path, run_dirs: list[Path]) -> Report:
    """Write curves.png, summary.json and report.html to `output` from what the runs hold, and
    metaparameters.png where agents tuned themselves.

    Raises ValueError for a run that cannot be read, OSError where `output` refuses.
    """
    names = _names(run_dirs)
    runs = {name: load_results(path) for name, path in zip(names, run_dirs, strict=True)}
    failures = [failure for path in run_dirs for failure in load_failures(path)]
    if not any(runs.values()) and not failures:
        raise ValueError(f"There are no results in {run_dirs[0]} yet; run metatest first.")
    records = {name: read_record(path) for name, path in zip(names, run_dirs, strict=True)}
    summaries, comparisons, pooled = summarise(runs), compare(runs), aggregate(runs)
    output.mkdir(parents=True, exist_ok=True)
    pictures = []
    if any(runs.values()):
        pictures.append(output / "curves.png")
        draw_curves(runs, pictures[0])
    numbers: dict[str, Any] = {"rows": [asdict(s) for s in summaries]}
    numbers["comparisons"] = [asdict(c) for c in comparisons]
    numbers["verdicts"] = counts(comparisons)
    numbers["aggregate"] = [{"algorithm": k, **asdict(v)} for k, v in pooled.items()]
    write_atomically(output / "summary.json", (json.dumps(numbers, indent=1) + "\n").encode())
    videos = [gif for path in run_dirs for gif in sorted((path / "videos").glob("*.gif"))]
    traces = output / "metaparameters.png"
    if draw_traces([result for results in runs.values() for result in results], traces):
        pictures.append(traces)
    text = page(runs, records, summaries, comparisons, pooled, failures, pictures, videos)
    write_atomically(output / "report.html", text.encode())
    return Report(summaries, comparisons)


def _names(run_dirs: list[Path]) -> list[str]:
    """The directories' own names, with their parents' where these are not unique."""
    names = [path.resolve().name for path in run_dirs]
    if len(set(names)) < len(names):
        names = [str(path) for path in run_dirs]
    return names


def cell(value: float | None, error: float | None = None) -> str:
    """A figure with its standard error, to as many digits as the size calls for."""
    if value is None or not np.isfinite(value):
        return "-"
    digits = decimals(value)
    return f"{value:.{digits}f}" + ("" if error is None else f" ±{error:.{digits}f}")


def as_table(report: Report) -> Table:
    """For the console; figures stay whole where it is narrow, and names fold."""
    summaries, compared = report.summaries, by_row(report.comparisons)
    table = Table(
        title="Fresh agents, last tenth of life",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    several = len({s.run for s in summaries}) > 1
    for heading in (["run"] if several else []) + ["environment", "algorithm"]:
        table.add_column(heading, overflow="fold")
    table.add_column("verdict", overflow="fold")
    for heading in ("mean ± s.e.", "random", "lr, alpha_y", "steps", "seeds"):
        table.add_column(heading, justify="right", no_wrap=heading != "seeds")
    for s in summaries:
        env = s.env if s.metric == "return" else f"{s.env} (reward/step)"
        seeds = f"{s.seeds}" + (f" ({s.diverged} diverged)" if s.diverged else "")
        verdicts = "\n".join(c.words() for c in compared.get((s.run, s.env, s.algorithm), ()))
        table.add_row(
            *([s.run] if several else []),
            env,
            escape(s.algorithm),
            escape(verdicts),
            cell(s.mean, s.standard_error),
            cell(s.random),
            arm_words(s.learning_rate, s.prediction_cost),
            f"{s.steps:,}",
            seeds,
        )
    return table


def draw_curves(runs: dict[str, list[Result]], path: Path) -> None:
    """Mean over seeds against interactions, bands of ±1 standard error, a panel an environment."""
    names = list(dict.fromkeys(r.env for results in runs.values() for r in results))
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.8 * columns, 3.4 * rows), squeeze=False)
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, names, strict=False):
        drawn = [(n, r) for n, results in runs.items() for r in results if r.env == name]
        finished = all(v is not None for _, r in drawn for v in r.late_return)
        for run, result in drawn:
            label = result.algorithm if len(runs) == 1 else f"{run}: {result.algorithm}"
            _draw_curve(axis, result, label, finished)
        if finished:
            first = drawn[0][1]
            for value, style in ((first.random_return, ":"), (first.reference_return, "--")):
                if value is not None:
                    axis.axhline(value, color="grey", linestyle=style, linewidth=1)
        axis.set(
            title=name, xlabel="environment steps", ylabel="return" if finished else "reward/step"
        )
        axis.ticklabel_format(axis="x", style="sci", scilimits=(0, 4))
        axis.legend(fontsize=8)
    figure.suptitle("mean over seeds ±1 standard error; dotted: random, dashed: reference")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_curve(axis: Axes, result: Result, label: str, finished: bool) -> None:
    rows = result.episode_return if finished else result.reward_per_step
    values = np.array([[np.nan if v is None else v for v in row] for row in rows], float)
    present = (~np.isnan(values)).sum(axis=1)
    keep = present > 0
    values, present = values[keep], present[keep]
    if not len(values):
        return
    mean = np.nanmean(values, axis=1)
    spread = np.nan_to_num(np.nanstd(values, axis=1)) / np.sqrt(np.maximum(present - 1, 1))
    steps = np.array(result.interactions)[keep]
    (line,) = axis.plot(steps, mean, label=label)
    axis.fill_between(steps, mean - spread, mean + spread, alpha=0.25, color=line.get_color())
