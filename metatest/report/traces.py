"""Metaparameters over life: a picture, and TensorBoard's curves."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from lpg.runs import figures
from lpg.runs.event_log import EventLog
from metatest.report.results import Result, folder_name
from metatest.report.statistics import label, only

MANY = 8  # heads or quantiles that are told apart by name; more by colour from low to high
COLUMNS = 3
PANEL = 4.0, 2.0  # inches


def families(result: Result) -> dict[str, dict[str, np.ndarray]]:
    """Traces [P, S] by metaparameter, then by head or quantile ("" where there is but one)."""
    grouped: dict[str, dict[str, np.ndarray]] = {}
    for name, values in result.traces.items():
        base, _, index = name.partition(".")
        grouped.setdefault(base, {})[index] = np.array(values, float)
    return grouped


def draw_traces(runs: dict[str, list[Result]], path: Path) -> bool:
    """A panel for each metaparameter of each result that has traces: means over seeds, and bands of
    one standard deviation; single seeds where there is one of each. Also as PDF. False where no
    result has any."""
    drawn = [
        (f"{result.env}, {label(run, result.algorithm, only(runs))}", name, result, members)
        for run, results in runs.items()
        for result in results
        for name, members in families(result).items()
    ]
    if not drawn:
        return False
    with figures.panels(path, len(drawn), COLUMNS, PANEL) as (figure, axes):
        for axis, (who, name, result, members) in zip(axes, drawn, strict=True):
            if len(members) > MANY:
                _draw_by_colour(axis, np.array(result.interactions), list(members.values()))
            else:
                _draw_by_name(axis, np.array(result.interactions), members, name)
            figures.title(axis, f"{who}: {name}")
            axis.set(xlabel="environment steps")
            axis.ticklabel_format(axis="x", style="sci", scilimits=(0, 4))
        figures.title(figure, "mean over seeds ±1 standard deviation")
    return True


def _draw_by_name(axis: Axes, steps: np.ndarray, members: dict[str, np.ndarray], name: str) -> None:
    lines = {}
    for index, look in figures.looks(members).items():
        values = members[index]
        mean, spread = values.mean(axis=1), values.std(axis=1)
        (lines[f"{name}.{index}"],) = axis.plot(steps, mean, linewidth=1.5, **look)
        axis.fill_between(steps, mean - spread, mean + spread, color=look["color"], alpha=0.2)
        if len(members) == 1:
            axis.plot(steps, values, color=look["color"], linewidth=0.4, alpha=0.6)
    if len(members) > 1:
        figures.legend(axis, lines)


def _draw_by_colour(axis: Axes, steps: np.ndarray, values: list[np.ndarray]) -> None:
    colours = ScalarMappable(Normalize(0, len(values) - 1), "viridis")
    for each, colour in zip(values, colours.to_rgba(np.arange(len(values))), strict=True):
        axis.plot(steps, each.mean(axis=1), color=colour, linestyle="-", linewidth=1.5)
    axis.figure.colorbar(colours, ax=axis, label="head or quantile")


def write_events(run_dir: Path, result: Result) -> None:
    """TensorBoard's curves of one result: means over seeds, by environment steps."""
    log = EventLog(
        run_dir / "tensorboard" / folder_name(result.env) / folder_name(result.algorithm), 0
    )
    traced = [
        (f"{name}/{index}" if index else name, values)
        for name, members in families(result).items()
        for index, values in members.items()
    ]
    try:
        for i, step in enumerate(result.interactions):
            finished = [x for x in result.episode_return[i] if x is not None]
            scalars = [
                ("reward per step", float(np.mean(np.array(result.reward_per_step[i], float))))
            ]
            scalars += [("return", float(np.mean(finished)))] if finished else []
            scalars += [(tag, float(np.mean(values[i]))) for tag, values in traced]
            log.add(step, scalars)
    finally:
        log.close()
