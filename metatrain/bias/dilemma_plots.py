"""Figure 9: learning curves in the iterated prisoner's dilemma, and how accurate each's
meta-gradients are."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lpg.runs import figures
from metatrain.bias.dilemma import EVERY, Dilemma
from metatrain.bias.study import Cells

PANEL = (3.4, 3.0)
# Of composition and Hessian: which curves stand in a panel.
PANELS: dict[str, Callable[[Dilemma], bool]] = {
    "(a) inner": lambda x: x.composition == x.hessian != "buffer" and x.lookaheads == 1,
    "(b) Hessian, composition 128": lambda x: x.composition == 128 and x.hessian != "buffer",
    "(c) composition, Hessian 128": lambda x: x.hessian == 128 and x.composition != "buffer",
    "(d) off-policy": lambda x: {x.composition, x.hessian} <= {128, "buffer"},
    "exact, by lookaheads": lambda x: x.outer == "exact",
}
SHOWN = {
    "reward": "reward of a round", "acc": "Acc", "outer_exact_acc": "Acc, outer gradient exact",
}  # fmt: skip


def draw_curves(curves: list[Dilemma], cells: Cells, path: Path) -> None:
    """As PNG and PDF; raises OSError where it cannot be written."""
    looks = figures.looks(map(name_of, curves))
    with figures.panels(path, len(PANELS) * len(SHOWN), len(PANELS), PANEL) as (figure, axes):
        panels = ((what, title) for what in SHOWN for title in PANELS)
        for axis, (what, title) in zip(axes, panels, strict=True):
            own = {name_of(s): cells[s][what] for s in curves if PANELS[title](s)}
            _draw(axis, own, looks)
            axis.set(xlabel="updates", ylabel=SHOWN[what])
            figures.title(axis, title)
        entries: dict[str, Artist] = {name: Line2D([], [], **look) for name, look in looks.items()}
        figures.legend(figure, entries)


def name_of(curve: Dilemma) -> str:
    """Of its sources, in the order composition, Hessian, outer."""
    looks = "" if curve.lookaheads == 1 else f", lookaheads {curve.lookaheads}"
    return f"{curve.composition}/{curve.hessian}/{curve.outer}{looks}"


def _draw(axis: Axes, curves: dict[str, list[float]], looks: dict[str, figures.Look]) -> None:
    for name, curve in curves.items():
        updates = [EVERY * (i + 1) for i in range(len(curve))]
        axis.plot(updates, curve, **looks[name])
