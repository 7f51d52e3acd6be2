"""Pictures of the study: accuracy and variance against what a figure varies."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import MaxNLocator, NullFormatter

from lpg.runs import figures
from metatrain.bias.accuracy import Setting
from metatrain.bias.kept import Cells

NAMES = {
    "trajectories": "trajectories per role, n", "inner_rate": "inner learning rate",
    "inner_steps": "inner updates, K", "hessian_offset": "offset of the Hessian, h",
    "acc": "Acc", "std_sum": "sum of standard deviations",
    "trace_variance": "trace of the variance",
    "mse_of_mean": "MSE of the mean meta-gradient", "theta_mse": "MSE of theta_K", "size": "size",
}  # fmt: skip
X = {
    "figure5": "trajectories", "figure6": "inner_rate", "figure7": "inner_steps",
    "figure8": "trajectories", "hessian": "hessian_offset", "mgrl": "inner_steps",
}  # fmt: skip
PANEL = (3.4, 3.0)
LOGARITHMIC = ("std_sum", "trace_variance", "mse_of_mean", "theta_mse", "size")
Panel = tuple[str, str, list[Setting], str]  # title, what is shown, settings, what varies


def draw(name: str, settings: list[Setting], cells: Cells, path: Path) -> None:
    """A figure of the study, as PNG and PDF; raises OSError where it cannot be written."""
    panels, columns = _panels(name, settings)
    curve = _rate if name == "hessian" else _estimator
    looks = figures.looks(curve(setting) for setting in settings)
    with figures.panels(path, len(panels), columns, PANEL) as (figure, axes):
        for axis, panel in zip(axes, panels, strict=True):
            _draw_panel(axis, panel, cells, looks, curve)
        figures.legend(figure, figures.samples(looks))


def _panels(name: str, settings: list[Setting]) -> tuple[list[Panel], int]:
    """What stands in each, row by row, and how many stand in a row."""
    if name == "composition":
        return _composition(settings), 2
    if name == "hessian":
        return [("exact but for its Hessian", "mse_of_mean", settings, X[name])], 1
    if name == "mgrl":
        shown = (("gamma", "size:0"), ("lambda, exactly 0", "size:1"))
        return [(title, what, settings, X[name]) for title, what in shown], 2
    by = "inner_steps" if name == "figure8" else "roles"
    kinds = [k for k in dict.fromkeys(getattr(s, by) for s in settings) if k != "EEE"]
    parts = {k: [s for s in settings if getattr(s, by) == k] for k in kinds}
    shown = ("acc", "std_sum", "trace_variance")
    titles = {k: f"K = {k}" if by == "inner_steps" else str(k) for k in kinds}
    return [(titles[k], what, parts[k], X[name]) for what in shown for k in kinds], len(kinds)


def _composition(settings: list[Setting]) -> list[Panel]:
    """The three sweeps, told apart by what they hold fixed."""
    rates = [s for s in settings if s.inner_steps == 6 and s.trajectories == 32]
    rates = [s for s in rates if s.inner_rate != 3.0 or s.estimator in ("autodiff", "dice")]
    sizes = [s for s in settings if s.inner_steps == 2 and s.inner_rate == 3.0]
    steps = [s for s in settings if s.inner_rate == 3.0 and s.trajectories == 32]
    sweeps = (("inner_rate", rates), ("trajectories", sizes), ("inner_steps", steps))
    return [("SEE", what, part, x) for x, part in sweeps for what in ("mse_of_mean", "theta_mse")]


def _estimator(setting: Setting) -> str:
    return setting.estimator


def _rate(setting: Setting) -> str:
    return f"inner learning rate {setting.inner_rate:g}"


def _draw_panel(
    axis: Axes,
    panel: Panel,
    cells: Cells,
    looks: dict[str, figures.Look],
    curve: Callable[[Setting], str],
) -> None:
    title, what, settings, x = panel
    for name in dict.fromkeys(map(curve, settings)):
        own = {asdict(s)[x]: _value(cells[s], what) for s in settings if curve(s) == name}
        at = sorted(own)
        axis.plot(at, [own[k] for k in at], marker=".", **looks[name])
    quantity = what.partition(":")[0]
    axis.set(xlabel=NAMES[x], ylabel=NAMES[quantity])
    if x == "trajectories":
        axis.set_xscale("log", base=2)
        plain(axis.xaxis)
    if x == "inner_steps":
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if quantity in LOGARITHMIC and _all_positive(_value(cells[s], what) for s in settings):
        logarithmic(axis)
    figures.title(axis, title)


def logarithmic(axis: Axes) -> None:
    """Upwards, with numbers between powers where there is hardly one; after curves are drawn."""
    axis.set_yscale("log")
    plain(axis.yaxis)
    low, high = axis.get_ylim()
    if high < 10 * low:
        axis.yaxis.set_minor_formatter("{x:g}")


def plain(axis: Axis) -> None:
    """Powers as numbers: the project's figures have no formulas."""
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _all_positive(values: Iterable[float]) -> bool:
    return all(value > 0 for value in values)


def _value(cell: dict[str, Any], what: str) -> float:
    """`name:i` is one of a list; a list alone its last, as of theta_K."""
    name, _, index = what.partition(":")
    value = cell[name]
    return value[int(index) if index else -1] if isinstance(value, list) else value
