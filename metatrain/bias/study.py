"""The settings behind each figure.

Source: Liu et al. 2022, figures 5 to 8, and its theory's sweeps; spec/bias.md, section 4.
"""

from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from typing import Any

from metatrain.bias.accuracy import Setting
from metatrain.bias.adaptation import Adaptation
from metatrain.bias.decomposition import CODES
from metatrain.bias.dilemma import Dilemma

FILES: dict[type, str] = {
    Setting: "cells.jsonl", Dilemma: "dilemma.jsonl", Adaptation: "adaptation.jsonl"
}  # fmt: skip
FOUR: tuple[str, ...] = ("autodiff", "lvc", "loaded_dice", "dice")
TWO: tuple[str, ...] = ("autodiff", "lvc")
SIZES, RATES, STEPS = (2, 4, 8, 16, 32, 64, 128, 256), (1, 3, 5, 7, 9, 11, 13), (1, 2, 3, 4, 5, 6)
OFFSETS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)


def grids(quick: bool = False) -> dict[str, list[Any]]:
    """Each figure's settings; quick ones have fewer points, MDPs and repeats."""
    return {
        **_tabular(quick),
        "reference": reference(quick),
        "figure9": curves(quick),
        "adaptation": adaptations(quick),
    }


def _tabular(quick: bool) -> dict[str, list[Setting]]:
    sizes = (4, 32) if quick else SIZES
    rates = (1, 7, 13) if quick else RATES
    steps = (1, 3) if quick else STEPS
    offsets = (0.0, 2.0, 4.0) if quick else OFFSETS
    maml, lirpg = Setting(mdps=3, repeats=5) if quick else Setting(), Setting(problem="lirpg")
    lirpg = replace(lirpg, mdps=maml.mdps, repeats=maml.repeats, roles="ESE")
    mean = replace(maml, roles="SEE", repeats=maml.repeats // 2)
    return {
        "figure5": _grid(maml, estimator=FOUR, roles=CODES, trajectories=sizes),
        "figure6": _grid(
            replace(maml, inner_steps=3 if quick else 5),
            estimator=FOUR, roles=CODES, inner_rate=rates,
        ),
        "figure7": _grid(maml, estimator=FOUR, roles=CODES, inner_steps=steps),
        "figure8": _grid(
            lirpg, estimator=TWO, inner_steps=steps[:5],
            trajectories=[n for n in sizes if n >= 16],
        ),
        "composition": [
            *_grid(replace(mean, inner_steps=6), estimator=("autodiff", "dice"), inner_rate=rates),
            *_grid(
                replace(mean, inner_steps=2, inner_rate=3.0),
                estimator=("autodiff", "dice"), trajectories=sizes,
            ),
            *_grid(replace(mean, inner_rate=3.0), estimator=FOUR, inner_steps=steps),
        ],
        "hessian": _grid(
            replace(maml, roles="EEE", inner_steps=2, hessian_noise=0.3),
            hessian_offset=offsets, inner_rate=(3.0, 3.5, 4.0, 4.5),
        ),
        "mgrl": _grid(
            replace(lirpg, problem="mgrl"), estimator=FOUR[:3], inner_steps=steps[:3]
        ),
    }  # fmt: skip


def reference(quick: bool = False) -> list[Setting]:
    """What later versions are held against: ten times as many MDPs (spec/bias.md, section 13)."""
    base = Setting(mdps=30, repeats=5) if quick else Setting(mdps=100)
    sizes = (16,) if quick else (16, 64)
    exact_values = replace(base, value_noise=0.0, roles="ESE")
    return [
        *_grid(base, estimator=FOUR, roles=CODES[:7], trajectories=sizes),
        *_grid(replace(base, inner_steps=3), estimator=FOUR, roles=("SSE", "ESE", "SEE")),
        *_grid(exact_values, estimator=FOUR[:3], trajectories=(*sizes, 256)),
    ]


def curves(quick: bool = False) -> list[Dilemma]:
    """Of figure 9; quick ones are short, and the four that differ most."""
    base = Dilemma(seeds=2, updates=20) if quick else Dilemma()
    exact = replace(base, composition="exact", hessian="exact", outer="exact", seeds=1)
    inner = (128, 1024, "exact", "buffer")
    both = [replace(base, composition=x, hessian=x) for x in inner if not quick or x != 1024]
    if quick:
        return [*both, exact]
    hessian = [replace(base, hessian=x) for x in inner[1:]]
    composition = [replace(base, composition=x) for x in inner[1:]]
    looks = [replace(exact, lookaheads=n) for n in (1, 0, 2)]
    return [*both, *hessian, *composition, *looks]


def adaptations(quick: bool = False) -> list[Adaptation]:
    """Of the MAML-RL loop."""
    base = Adaptation(meta_steps=40, seeds=2) if quick else Adaptation()
    return _grid(base, estimator=FOUR, inner_steps=(1,) if quick else (1, 3))


def _grid(base: Any, **axes: Iterable[Any]) -> list[Any]:
    """All combinations."""
    axes = {name: [float(x) if name == "inner_rate" else x for x in y] for name, y in axes.items()}
    points = (dict(zip(axes, point, strict=True)) for point in product(*axes.values()))
    return [replace(base, **point) for point in points]
