"""Learning curves under estimated meta-gradients: figure 9 and the MAML-RL loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from lpg.runs import figures
from metatrain.bias import adaptation, dilemma
from metatrain.bias.adaptation import Adaptation
from metatrain.bias.dilemma import Dilemma
from metatrain.bias.kept import Cells

PANEL = (3.4, 3.0)


class Curves(NamedTuple):
    """What one figure has: a row for each quantity shown, a column for each choice of settings."""

    columns: dict[str, Callable[[Any], bool]]
    rows: dict[str, str]  # a quantity, and how its axis is called
    name: Callable[[Any], str]  # of a curve
    steps: str
    every: int  # steps from point to point


def name_of(curve: Dilemma) -> str:
    """Of its sources, in the order composition, Hessian, outer."""
    looks = "" if curve.lookaheads == 1 else f", lookaheads {curve.lookaheads}"
    return f"{curve.composition}/{curve.hessian}/{curve.outer}{looks}"


def estimator_of(curve: Adaptation) -> str:
    """As it is."""
    return curve.estimator


DILEMMA = Curves(
    columns={
        "(a) inner": lambda x: x.composition == x.hessian != "buffer" and x.lookaheads == 1,
        "(b) Hessian, composition 128": lambda x: x.composition == 128 and x.hessian != "buffer",
        "(c) composition, Hessian 128": lambda x: x.hessian == 128 and x.composition != "buffer",
        "(d) off-policy": lambda x: {x.composition, x.hessian} <= {128, "buffer"},
        "exact, by lookaheads": lambda x: x.outer == "exact",
    },
    rows={
        "reward": "reward of a round", "acc": "Acc", "outer_exact_acc": "Acc, outer gradient exact",
    },
    name=name_of, steps="updates", every=dilemma.EVERY,
)  # fmt: skip
ADAPTATION = Curves(
    columns={"K = 1": lambda x: x.inner_steps == 1, "K = 3": lambda x: x.inner_steps == 3},
    rows={"after": "return after K updates", "before": "return of the first policy"},
    name=estimator_of, steps="meta-steps", every=adaptation.EVERY,
)  # fmt: skip
CURVES = {"figure9": DILEMMA, "adaptation": ADAPTATION}


def draw_curves(shown: Curves, curves: list[Any], cells: Cells, path: Path) -> None:
    """As PNG and PDF; raises OSError where it cannot be written."""
    looks = figures.looks(map(shown.name, curves))
    columns = {x: own for x, has in shown.columns.items() if (own := list(filter(has, curves)))}
    count = len(shown.rows) * len(columns)
    with figures.panels(path, count, len(columns), PANEL) as (figure, axes):
        panels = ((what, title) for what in shown.rows for title in columns)
        for axis, (what, title) in zip(axes, panels, strict=True):
            for curve in columns[title]:
                values = cells[curve][what]
                at = [shown.every * (i + 1) for i in range(len(values))]
                axis.plot(at, values, **looks[shown.name(curve)])
            axis.set(xlabel=shown.steps, ylabel=shown.rows[what])
            figures.title(axis, title)
        figures.legend(figure, figures.samples(looks))
