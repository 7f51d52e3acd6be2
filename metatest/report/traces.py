"""Metaparameters over life: a picture, and TensorBoard's curves."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from lpg.runs.event_log import EventLog
from metatest.report.results import Result, folder_name

MANY = 8  # heads or quantiles that are told apart by name; more by colour from low to high


def families(result: Result) -> dict[str, dict[str, np.ndarray]]:
    """Traces [P, S] by metaparameter, then by head or quantile ("" where there is but one)."""
    grouped: dict[str, dict[str, np.ndarray]] = {}
    for name, values in result.traces.items():
        base, _, index = name.partition(".")
        grouped.setdefault(base, {})[index] = np.array(values, float)
    return grouped


def draw_traces(results: list[Result], path: Path) -> bool:
    """A row for each result that has traces, a panel for each metaparameter: means over seeds, and
    bands of one standard deviation; single seeds where there is one of each. False where none has.
    """
    rows = [(result, families(result)) for result in results if result.traces]
    if not rows:
        return False
    columns = max(len(found) for _, found in rows)
    size = (3.1 * columns, 2.4 * len(rows))
    figure, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for row, (result, found) in zip(axes, rows, strict=True):
        for axis, (name, members) in zip(row, found.items(), strict=False):
            axis.set_axis_on()
            _draw(axis, np.array(result.interactions), members)
            axis.set_title(f"{result.env}, {result.algorithm}: {name}", fontsize=8)
            axis.ticklabel_format(axis="x", style="sci", scilimits=(0, 4))
            axis.tick_params(labelsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True


def _draw(axis: Axes, steps: np.ndarray, members: dict[str, np.ndarray]) -> None:
    colours = plt.get_cmap("viridis" if len(members) > MANY else "tab10")
    for i, (index, values) in enumerate(members.items()):
        colour = colours(i / (len(members) - 1) if len(members) > MANY else i)
        mean, spread = values.mean(axis=1), values.std(axis=1)
        axis.plot(steps, mean, color=colour, linewidth=1.5, label=index or None)
        if len(members) <= MANY:
            axis.fill_between(steps, mean - spread, mean + spread, color=colour, alpha=0.2)
        if len(members) == 1:
            axis.plot(steps, values, color=colour, linewidth=0.4, alpha=0.6)
    if 1 < len(members) <= MANY:
        axis.legend(fontsize=6, title="head", title_fontsize=6)


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
