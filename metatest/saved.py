"""Where a batch of lives is kept, so that the same command can take it up again."""

import json
import shutil
import time
from collections.abc import Sized
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lpg.runs.checkpoint import Checkpoints
from lpg.runs.resume import forget_after
from lpg.runs.signals import Stopped
from metatest.curve import Curve, Point, as_curve
from metatest.report.results import with_none

SECONDS = 120.0  # between checkpoints, at the least


class Saved:
    """A folder with `points.jsonl`, what came out so far, and while lives go on their checkpoints.

    Args:
        stop: grows when a signal asks to stop (`lpg.runs.signals.stop_signals`).
        seconds: between checkpoints; at points alone, so that lives are taken up to the bit.
    """

    def __init__(self, folder: Path, stop: Sized = (), seconds: float = SECONDS):
        self.folder, self.stop, self.seconds = folder, stop, seconds
        folder.mkdir(parents=True, exist_ok=True)
        self._log, self._saved_at = folder / "points.jsonl", time.monotonic()

    @cached_property
    def _checkpoints(self) -> Checkpoints:
        return Checkpoints(self.folder)

    def finished(self) -> Curve | None:
        """The curve of lives that are over; None while they are not."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        try:
            *points, last = [json.loads(line) for line in lines]
        except ValueError:
            return None
        if "diverged" not in last:
            return None
        return as_curve([_point(line) for line in points], np.array(last["diverged"], bool))

    def restore(self, lives: Any) -> tuple[Any, list[Point]]:
        """Lives as they were at the newest checkpoint, and their points up to it; newborn ones as
        they are where there is none."""
        found = self._checkpoints.restore_newest(jax.eval_shape(lambda: lives))
        done = 0 if found is None else found.step
        lines = forget_after(self._log, "update", done)
        return lives if found is None else found.state, [_point(line) for line in lines]

    def add(self, done: int, point: Point, lives: Any, last: bool) -> None:
        """One more point, at `done` updates; raises Stopped where a signal came, all saved."""
        stopping = len(self.stop) > 0 and not last
        with self._log.open("a") as file:
            line = {name: with_none(x) for name, x in point._asdict().items() if name != "traces"}
            traces = {name: with_none(x) for name, x in point.traces.items()}
            file.write(json.dumps({"update": done, **line, "traces": traces}) + "\n")
        if stopping or (not last and time.monotonic() - self._saved_at > self.seconds):
            self._checkpoints.save(done, lives)
            self._saved_at = time.monotonic()
        if stopping:
            raise Stopped

    def finish(self, done: int, diverged: np.ndarray) -> None:
        """No life is needed any more."""
        with self._log.open("a") as file:
            file.write(json.dumps({"update": done, "diverged": diverged.tolist()}) + "\n")
        shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)


def _point(line: dict[str, Any]) -> Point:
    def floats(values: list[float | None]) -> np.ndarray:
        return np.array([np.nan if x is None else x for x in values], float)

    return Point(
        updates=int(line["updates"]),
        reward_per_step=floats(line["reward_per_step"]),
        episode_return=floats(line["episode_return"]),
        traces={name: floats(x) for name, x in line["traces"].items()},
    )
