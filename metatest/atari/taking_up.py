"""One algorithm on one game: where its lives are kept, and by which options they are taken up."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lpg.runs.resume import refuse_other_options, write_options
from metatest.algorithms import Algorithm
from metatest.atari.games import Game
from metatest.atari.options import AtariOptions
from metatest.report.results import folder_name

# Options that may differ when a run is taken up again.
FREE_OPTIONS = ("seeds", "log_every", "checkpoint_every", "video_steps")
FREE_OPTIONS += ("settings.emulator_threads",)
NEWER = {"seed": 0, "lag": 1}  # what options that older runs did not keep were in them
LIVES = 1_000_003  # places for the lives of one --seed
SELECTION = 1_000_000  # the place of lives that only choose an arm


@dataclass(frozen=True)
class AtariRun:
    """An algorithm on a game by given options, or the algorithm's own where it has such."""

    algorithm: Algorithm
    game: Game
    given: AtariOptions
    run_dir: Path
    seed: int = 0  # of every random draw

    @property
    def options(self) -> AtariOptions:
        """Those that it is played by."""
        return self.given.of(self.algorithm)

    @property
    def folder(self) -> Path:
        """Where its lives are kept."""
        return self.run_dir.joinpath("atari", self.game.name, folder_name(self.algorithm.name))

    @property
    def lag(self) -> int:
        """Updates by which acting parameters are old; playing while learning costs one."""
        return max(1, self.algorithm.training.lag)

    def draws(self, place: int) -> int:
        """The seed of all draws of the life at that place; its place itself where `seed` is 0."""
        return (self.seed * LIVES + place) % 2**32

    def refuse_other(self) -> None:
        """ValueError where the folder holds what this run cannot go on with."""
        path = self.folder / "options.json"
        free = FREE_OPTIONS
        if not self.algorithm.training.atari.scheduled:
            free = (*free, "frames")
        refuse_other_options(path, self._kept(), free, lambda before: NEWER | before)
        if not path.exists():
            return
        before, now = json.loads(path.read_text())["frames"], self.options.frames
        if now < before:
            raise ValueError(
                f"The run in {self.folder} was made with frames {before:,}; it goes on with more "
                f"but not with {now:,}; give as many or choose another --run-dir."
            )

    def keep_options(self) -> None:
        """Into the folder; raises ValueError as `refuse_other` does."""
        self.refuse_other()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_options(self.folder / "options.json", self._kept())

    def _kept(self) -> dict[str, Any]:
        """All that makes its lives what they are."""
        own = {"seed": self.seed, "lag": self.lag}
        return asdict(self.options) | own | self.algorithm.version
