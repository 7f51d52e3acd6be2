"""Learning curves of a report."""

from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from lpg.runs import figures
from metatest.report.results import Result
from metatest.report.statistics import label, only

COLUMNS = 3
PANEL = 4.0, 2.5  # inches
CHANCE, REFERENCE = "random policy", "reference"
GREY = {CHANCE: ":", REFERENCE: "--"}


def draw_curves(runs: dict[str, list[Result]], path: Path) -> None:
    """Mean over seeds against interactions, bands of ±1 standard error, a panel an environment; an
    algorithm looks the same in all of them. Also as PDF."""
    every = [(run, result) for run, results in runs.items() for result in results]
    drawn = [(label(run, result.algorithm, only(runs)), result) for run, result in every]
    names = list(dict.fromkeys(r.env for _, r in drawn))
    looks = figures.looks(name for name, _ in drawn)
    with figures.panels(path, len(names), COLUMNS, PANEL) as (figure, axes):
        entries = figures.samples(looks)
        for axis, env in zip(axes, names, strict=True):
            own = [(name, result) for name, result in drawn if result.env == env]
            finished = all(v is not None for _, r in own for v in r.late_return)
            for name, result in own:
                _draw_curve(axis, result, looks[name], finished)
            entries |= _draw_levels(axis, own[0][1]) if finished else {}
            axis.set(xlabel="environment steps", ylabel="return" if finished else "reward per step")
            axis.ticklabel_format(axis="x", style="sci", scilimits=(0, 4))
            figures.title(axis, env)
        figures.legend(figure, entries)
        figures.title(figure, "mean over seeds ±1 standard error")


def _draw_levels(axis: Axes, result: Result) -> dict[str, Artist]:
    """What a random policy and the reference earn, where known."""
    levels = {CHANCE: result.random_return, REFERENCE: result.reference_return}
    return {
        name: axis.axhline(value, color="grey", linestyle=GREY[name], linewidth=1)
        for name, value in levels.items()
        if value is not None
    }


def _draw_curve(axis: Axes, result: Result, look: figures.Look, finished: bool) -> None:
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
    axis.plot(steps, mean, **look)
    axis.fill_between(steps, mean - spread, mean + spread, alpha=0.25, color=look["color"])
