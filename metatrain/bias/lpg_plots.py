"""The picture of LPG's meta-gradient: a row for each rule, a curve for each surrogate."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from lpg.runs import figures
from metatrain.bias.lpg_study import Cell
from metatrain.bias.plots import logarithmic, plain
from metatrain.bias.small_lives import SURROGATES

LIFETIMES = "16"  # that a meta-gradient is the mean of, where their number is not what varies
PANEL = (2.9, 2.8)
USUAL = Cell()
Found = dict[Cell, dict[str, Any]]
Points = list[tuple[int | float, float]]
X = {
    "K": "agent updates, K", "n": "rollouts an update, n", "L": "lifetimes",
    "alpha": "agents' learning rate",
}  # fmt: skip
COLUMNS = (
    ("K", "acc", "all trajectories"), ("K", "acc", "n = 16"), ("n", "acc", "K"),
    ("L", "acc", "K, n = 16"), ("alpha", "acc", "K, n = 16"), ("K", "noise", "n = 16"),
)  # fmt: skip


def draw(found: Found, path: Path) -> None:
    """As PNG and PDF; raises OSError where it cannot be written."""
    looks = figures.looks(SURROGATES)
    middle = 5 if any(cell.inner_steps == 5 for cell in found) else 3
    with figures.panels(path, 2 * len(COLUMNS), len(COLUMNS), PANEL) as (figure, axes):
        rows = [(rule, *column) for rule in ("newborn", "trained") for column in COLUMNS]
        for axis, (rule, x, what, at) in zip(axes, rows, strict=True):
            for surrogate in SURROGATES:
                own = [
                    (cell, figure)
                    for cell, figure in found.items()
                    if (cell.rule, cell.surrogate) == (rule, surrogate)
                ]
                points = sorted(_points(own, x, what, at, middle))
                axis.plot(*zip(*points, strict=True), marker=".", **looks[surrogate])
            _label(axis, x, what)
            figures.title(axis, f"{rule}, {at.replace('K', f'K = {middle}')}")
        figures.legend(figure, figures.samples(looks))


def _points(
    own: list[tuple[Cell, dict[str, Any]]], x: str, what: str, at: str, middle: int
) -> Points:
    """Of one rule and surrogate."""
    n = None if at == "all trajectories" else 16
    usual = [(c, f) for c, f in own if x == "alpha" or c.inner_rate == USUAL.inner_rate]
    if x == "K":
        return [(c.inner_steps, _value(f, what)) for c, f in usual if c.environments == n]
    usual = [(c, f) for c, f in usual if c.inner_steps == middle]
    if x == "n":
        return [(c.environments, _value(f, what)) for c, f in usual if c.environments]
    usual = [(c, f) for c, f in usual if c.environments == n]
    if x == "alpha":
        return [(c.inner_rate, _value(f, what)) for c, f in usual]
    return [(int(lives), acc) for _, f in usual for lives, acc in f[what].items()]


def _value(figure: dict[str, Any], what: str) -> float:
    if what != "acc":
        return figure[what]
    return figure[what].get(LIFETIMES, figure[what]["1"])  # quick cells have not as many


def _label(axis: Axes, x: str, what: str) -> None:
    axis.set(xlabel=X[x], ylabel="Acc" if what == "acc" else "noise, in sizes of the gradient")
    axis.set_xscale("log", base=2)
    plain(axis.xaxis)
    if what != "acc":
        logarithmic(axis)
