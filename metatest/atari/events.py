"""TensorBoard's curves of an Atari life while it is lived, by environment steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lpg.runs.event_log import EventLog
from metatest.atari.env import FRAMES_PER_STEP

# Updates done since the last call, and the newest line of metrics.jsonl, empty where there is none.
OnProgress = Callable[[int, dict[str, Any]], None]


class Events:
    """Hears of the lines of metrics.jsonl as `on_progress` does, which it passes them on to."""

    def __init__(self, folder: Path, on_progress: OnProgress):
        self._folder, self._on_progress = folder, on_progress
        self._log: EventLog | None = None

    def __call__(self, updates: int, line: dict[str, Any]) -> None:
        """The first line is that of the checkpoint that a life goes on from, empty for newborns."""
        step = line.get("frames", 0) // FRAMES_PER_STEP
        if self._log is None:
            self._log = EventLog(self._folder, step + 1)
        elif line:
            self._log.add(step, _scalars(line))
        self._on_progress(updates, line)

    def close(self) -> None:
        """What it was told is on disk already."""
        if self._log is not None:
            self._log.close()


def _scalars(line: dict[str, Any]) -> list[tuple[str, float]]:
    """Tags as those of a result's curves."""
    found = [("reward per step", line["reward_per_step"]), ("return", line["score"])]
    found += [("human normalised", line["human_normalised"])]
    found += [("frames per second", line["frames_per_second"])]
    found += line.get("traces", {}).items()
    return [(tag, float(value)) for tag, value in found if value is not None]
