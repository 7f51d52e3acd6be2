"""The settings behind each figure, computed once each and kept line by line.

Source: Liu et al. 2022, figures 5 to 8, and its theory's sweeps; spec/bias.md, section 4.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import MofNCompleteColumn

from lpg.runs.command import progress
from lpg.runs.signals import stop_signals
from metatrain.bias.accuracy import Setting, measure, summary
from metatrain.bias.decomposition import CODES

Cells = dict[Setting, dict[str, Any]]  # each setting's summary
FOUR: tuple[str, ...] = ("autodiff", "lvc", "loaded_dice", "dice")
TWO: tuple[str, ...] = ("autodiff", "lvc")
SIZES, RATES, STEPS = (2, 4, 8, 16, 32, 64, 128, 256), (1, 3, 5, 7, 9, 11, 13), (1, 2, 3, 4, 5, 6)
OFFSETS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)


def grids(quick: bool = False) -> dict[str, list[Setting]]:
    """Each figure's settings; quick ones have fewer points, MDPs and repeats."""
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


def _grid(base: Setting, **axes: Iterable[Any]) -> list[Setting]:
    """All combinations."""
    axes = {name: [float(x) if name == "inner_rate" else x for x in y] for name, y in axes.items()}
    points = (dict(zip(axes, point, strict=True)) for point in product(*axes.values()))
    return [replace(base, **point) for point in points]


def compute(chosen: dict[str, list[Setting]], path: Path, console: Console) -> Cells | None:
    """Summaries of all settings, those that `path` lacks computed and added to it; None where a
    signal came before the end.

    Raises OSError where the file cannot be written.
    """
    cells = read(path)
    wanted = dict.fromkeys(setting for settings in chosen.values() for setting in settings)
    missing = sorted((s for s in wanted if s not in cells), key=_program)
    with stop_signals() as received, progress(console, MofNCompleteColumn()) as shown:
        task = shown.add_task("cells", total=len(wanted), completed=len(wanted) - len(missing))
        for setting in missing:
            if received:
                return None
            cells[setting] = summary(measure(setting))
            _append(path, {"setting": asdict(setting), **cells[setting]})
            shown.advance(task)
    return cells


def _program(setting: Setting) -> tuple[Any, ...]:
    """What is compiled, so that each program's settings are computed together."""
    return setting.problem, setting.inner_steps, setting.trajectories, setting.mdps, setting.repeats


def read(path: Path) -> Cells:
    """What is there; a last line that was cut short is dropped from the file."""
    if not path.exists():
        return {}
    whole = path.read_bytes()
    kept = whole[: whole.rfind(b"\n") + 1]
    if kept != whole:
        path.write_bytes(kept)
    lines = [json.loads(line) for line in kept.splitlines()]
    return {Setting(**line.pop("setting")): line for line in lines}


def _append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
