"""What a run leaves on disk and takes up again; process 0 reads and writes for all of them."""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lpg.runs.checkpoint import Checkpoints, OtherStateError, Restored
from metatrain.config import MetaTrainConfig
from metatrain.devices.processes import from_first, on_first, on_host
from metatrain.engine import Engine, EngineState
from metatrain.initial_rule import InitialRule
from metatrain.records.plots import Arms, draw_all
from metatrain.records.run_directory import RunDirectory, RunDirectoryError

DRAWING = 0.05  # of a run's time, at most; the last checkpoint's curves come on top


class Records:
    """A run's checkpoints, log, curves and rule files, from any number of processes."""

    def __init__(self, run_dir: Path, config: MetaTrainConfig):
        """Raises RunDirectoryError for a directory that cannot be this run's."""
        opened = on_first(lambda: (RunDirectory(run_dir, config), Checkpoints(run_dir)))
        self._disk: Any = opened  # None in processes other than the first
        self._arms: Arms = {}
        self._drawn = -1  # the meta-step that curves have come to
        self._draw_after = 0.0  # on the monotonic clock

    def start(
        self, engine: Engine, initial: InitialRule | None
    ) -> tuple[EngineState, int, tuple[str, ...]]:
        """State and meta-step to go on from, and a sentence for each damaged checkpoint.

        Args:
            initial: what a run without checkpoints starts from; read on process 0 alone.
        """
        self._arms = arms(engine)
        key = jax.random.key(engine.config.seed)
        like = jax.eval_shape(engine.init, key)
        found = on_first(lambda: self._restored(like))
        like_step = jax.ShapeDtypeStruct((), np.int32)
        step = int(from_first(np.int32(found.step if found else -1), like_step))
        on_first(lambda: self._disk[0].open_logs(max(step, 0)))
        if step < 0:
            state = engine.init(key)
            if engine.config.init_rule is not None:
                fresh = InitialRule(like.rule_params, like.meta_opt_state)
                state = engine.start_from(state, from_first(initial, fresh))
            return state, 0, ()
        state = from_first(found.state if found else None, like)
        return engine.place(state), step, found.damaged if found else ()

    def _restored(self, like: EngineState) -> Restored | None:
        directory, checkpoints = self._disk
        try:
            return checkpoints.restore_newest(like)
        except OtherStateError as error:
            more = f"a new run takes its rule along by --init-rule {directory.path}."
            raise OtherStateError(f"{error} There, {more}") from error

    def log(self, record: dict[str, Any]) -> None:
        """One line of metrics.jsonl, and TensorBoard's scalars."""
        on_first(lambda: self._disk[0].log(record))

    def save(self, meta_step: int, state: EngineState) -> None:
        """A checkpoint, the rule and, where they were not just drawn, the curves."""
        whole = on_host(state)

        def write() -> None:
            directory, checkpoints = self._disk
            checkpoints.save(meta_step, whole)
            directory.save_rules(whole.selection, whole.rule_params, meta_step)
            if time.monotonic() >= self._draw_after:
                self._draw(meta_step)

        on_first(write)

    def _draw(self, meta_step: int) -> None:
        began, path = time.monotonic(), self._disk[0].path
        try:
            draw_all(path, self._arms)
        except OSError as error:
            raise RunDirectoryError(
                f"Cannot write the curves of {path} ({error.strerror}); make room and run the same "
                "command again, it resumes from the newest checkpoint."
            ) from error
        self._drawn, self._draw_after = meta_step, began + (time.monotonic() - began) / DRAWING

    def export_rule(self, meta_step: int, state: EngineState) -> None:
        """The rule as a program of StableHLO, and the curves to their end."""
        selection, last = on_host((state.selection, state.rule_params))

        def write() -> None:
            self._disk[0].export_rule(selection, last, meta_step)
            if self._drawn < meta_step:
                self._draw(meta_step)

        on_first(write)

    def close(self) -> None:
        """Of no effect on what was written."""
        if self._disk is not None:
            self._disk[0].close()


def arms(engine: Engine) -> Arms:
    """Of every environment, in the order of its bandit's table: learning rate and alpha_y."""
    return {
        name: [
            f"{rate:g}, {cost:g}"
            for rate, cost in zip(cohort.learning_rates, cohort.prediction_costs, strict=True)
        ]
        for cohort in engine.cohorts
        for name in cohort.names
    }
