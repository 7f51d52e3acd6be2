"""The lives of a run: which there are, what must be over before which, and what each has left."""

import json
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

from metatest.atari.lines import as_curve
from metatest.atari.taking_up import SELECTION, AtariRun
from metatest.curve import Curve
from metatest.selection import choose, diverged
from metatest.training import Arm


class Life(NamedTuple):
    """One agent of a run."""

    name: str  # its folder's
    place: int  # of its draws
    arm: Arm
    num_updates: int


def stages(run: AtariRun) -> Iterator[list[Life]]:
    """Lives that may be lived at the same time; the next ones are asked for once these are over.

    Raises FloatingPointError where no arm's agent is sound.
    """
    if tried := trials(run):
        yield tried
    chosen, _ = chosen_arm(run)
    n = _length(run, run.options.frames)
    yield [Life(f"seed{seed}", seed, chosen, n) for seed in range(run.options.seeds)]


def trials(run: AtariRun) -> list[Life]:
    """One agent an arm, where there are several."""
    arms, n = _arms(run), _length(run, run.options.selection_frames)
    return [Life(f"arm{i}", SELECTION, x, n) for i, x in enumerate(arms)] if len(arms) > 1 else []


def chosen_arm(run: AtariRun) -> tuple[Arm, dict[str, Any]]:
    """By its trials, and what a `Result` says of the choice."""
    return choose(_arms(run), lambda: curve(run, trials(run)), _who(run))


def reported(run: AtariRun, lives: list[Life]) -> Curve:
    """Of the last stage's lives; raises FloatingPointError where all of them diverged."""
    ended = curve(run, lives)
    if ended.diverged.all():
        raise diverged(_who(run))
    return ended


def curve(run: AtariRun, lives: list[Life]) -> Curve:
    """Of lives that are over."""
    logs = [(run.folder / life.name / "metrics.jsonl").read_text() for life in lives]
    return as_curve([[json.loads(line) for line in log.splitlines()] for log in logs])


def is_over(run: AtariRun, life: Life) -> bool:
    """Whether there is a checkpoint of its end, by name."""
    names = (path.name for path in (run.folder / life.name / "checkpoints").glob("*"))
    return any(name.isdigit() and int(name) >= life.num_updates for name in names)


def _who(run: AtariRun) -> str:
    return f"{run.algorithm.name} on {run.game.name}"


def _arms(run: AtariRun) -> list[Arm]:
    return list(product(run.options.learning_rates, run.options.prediction_costs))


def _length(run: AtariRun, frames: int) -> int:
    return run.options.num_updates(frames, run.algorithm.learner.fresh)
