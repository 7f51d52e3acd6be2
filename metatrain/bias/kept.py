"""What is kept of a study: each setting's figures, a line each, computed once."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.console import Console
from rich.progress import MofNCompleteColumn

from lpg.runs.command import progress
from lpg.runs.signals import stop_signals

Cells = dict[Any, dict[str, Any]]  # by setting


class Cell(Protocol):
    """A frozen dataclass of plain numbers and words."""

    @property
    def program(self) -> tuple[Any, ...]:
        """What is compiled; settings of one program are best computed one after another."""
        ...

    def measured(self) -> dict[str, Any]:
        """What is kept of it, as plain JSON."""
        ...


def compute(
    settings: Iterable[Any], path: Path, console: Console, name: str = "setting"
) -> Cells | None:
    """Figures of settings of one kind, those that `path` lacks computed and added to it; None
    where a signal came before the end.

    Args:
        settings: `Cell`s.
        name: that a line has its setting by.

    Raises OSError where the file cannot be written.
    """
    wanted = list(dict.fromkeys(settings))
    cells = read(path, type(wanted[0]), name) if wanted else {}
    missing = sorted((s for s in wanted if s not in cells), key=lambda setting: setting.program)
    with stop_signals() as received, progress(console, MofNCompleteColumn()) as shown:
        task = shown.add_task(path.stem, total=len(wanted), completed=len(wanted) - len(missing))
        for setting in missing:
            if received:
                return None
            cells[setting] = setting.measured()
            _append(path, {name: asdict(setting), **cells[setting]})
            shown.advance(task)
    return cells


def read(path: Path, kind: type[Any], name: str = "setting") -> Cells:
    """What is there; a last line that was cut short is dropped from the file."""
    if not path.exists():
        return {}
    whole = path.read_bytes()
    kept = whole[: whole.rfind(b"\n") + 1]
    if kept != whole:
        path.write_bytes(kept)
    lines = [json.loads(line) for line in kept.splitlines()]
    return {kind(**line.pop(name)): line for line in lines}


def _append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def rounded(found: Any) -> Any:
    """To six digits, which no figure needs."""
    if isinstance(found, dict):
        return {name: rounded(value) for name, value in found.items()}
    if isinstance(found, list):
        return [rounded(value) for value in found]
    return float(f"{found:.6g}")


def over_seeds(curves: dict[str, np.ndarray]) -> dict[str, Any]:
    """Means over seeds and their standard errors, by points, of curves [seeds, points]."""
    found: dict[str, Any] = {}
    for name, curve in curves.items():
        found[name] = np.mean(curve, axis=0).tolist()
        if len(curve) > 1:
            error = np.std(curve, axis=0, ddof=1) / np.sqrt(len(curve))
            found[f"{name}_se"] = error.tolist()
    return found
