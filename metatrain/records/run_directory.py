"""What a run leaves on disk besides checkpoints: config, log lines, TensorBoard, the rule."""

import json
from pathlib import Path
from typing import Any

import jax

from lpg.files.export import can_export, exported_rule
from lpg.files.storage import save_rule, write_atomically
from lpg.rule import RuleParams
from lpg.rules.own import OwnRule
from lpg.runs.event_log import EventLog
from lpg.runs.owner import Owner
from lpg.runs.resume import forget_after, keep_options
from metatrain.config import MetaTrainConfig
from metatrain.config_file import upgraded
from metatrain.records.scalars import scalars
from metatrain.selection import Selection, exported

# Fields that may differ when a run is taken up again: how long and in what manner, not what.
FREE_FIELDS = ("meta_steps", "lifetimes_per_chunk", "remat", "rule.fused_lstm")


class RunDirectoryError(RuntimeError):
    """A run directory that cannot be used; the message names cause and remedy."""


class RunDirectory:
    """The files of a run, all but its checkpoints."""

    def __init__(self, path: Path, config: MetaTrainConfig):
        """Create or take up `path`. Refuses a directory that another config made."""
        self.path = path
        self.config = config
        self._events: EventLog | None = None
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._owner = Owner(path)
            keep_options(path / "config.json", config.as_json(), FREE_FIELDS, upgraded)
        except ValueError as error:
            raise RunDirectoryError(str(error)) from error
        except OSError as error:
            raise RunDirectoryError(
                f"Cannot write to the run directory {path} ({error.strerror}); choose one that is "
                "writable with --run-dir."
            ) from error

    def open_logs(self, meta_step: int) -> None:
        """Forget log lines after `meta_step`, which a resumed run writes again."""
        forget_after(self.path / "metrics.jsonl", "meta_step", meta_step)
        self._events = EventLog(self.path / "tensorboard", meta_step + 1)

    def log(self, record: dict[str, Any]) -> None:
        """One line of metrics.jsonl, and the same numbers for TensorBoard."""
        try:
            with (self.path / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(record) + "\n")
            if self._events is not None:
                self._events.add(record["meta_step"], scalars(record, self.config))
        except OSError as error:
            raise RunDirectoryError(
                f"Cannot write the log of {self.path} ({error.strerror}); make room and run the "
                "same command again, it resumes from the newest checkpoint."
            ) from error

    def save_rules(self, selection: Selection, last: RuleParams, meta_step: int) -> None:
        """rule.safetensors, what the run exports, and rule_last.safetensors, eta as it is."""
        rule_params, chosen_at, score = exported(selection, last, meta_step)
        self._save_rule("rule.safetensors", rule_params, chosen_at, {"validation_score": score})
        self._save_rule("rule_last.safetensors", last, meta_step, {})

    def _save_rule(
        self, name: str, rule_params: RuleParams, meta_step: int, more: dict[str, Any]
    ) -> None:
        try:
            write_rule(self.path / name, self.config, rule_params, meta_step, more)
        except OSError as error:
            raise RunDirectoryError(
                f"Cannot write the rule to {self.path} ({error.strerror}); make room and run the "
                "same command again."
            ) from error

    def export_rule(self, selection: Selection, last: RuleParams, meta_step: int) -> None:
        """rule.stablehlo beside rule.safetensors, where the package for it is installed; of our own
        kinds of rules alone, whose results are known."""
        if not can_export() or isinstance(self.config.rule, OwnRule):
            return
        path = self.path / "rule.stablehlo"
        try:
            rule = self.config.rule
            published = rule.publish(jax.device_get(exported(selection, last, meta_step)[0]))
            write_atomically(path, exported_rule(rule.published(), published))
        except OSError as error:
            raise RunDirectoryError(
                f"Cannot write {path} ({error.strerror}); make room and run "
                "python -m lpg.files.export."
            ) from error

    def close(self) -> None:
        """Close TensorBoard's file, and let other processes write here."""
        if self._events is not None:
            self._events.close()
        self._owner.release()


def write_rule(
    path: Path,
    config: MetaTrainConfig,
    rule_params: RuleParams,
    meta_step: int,
    more: dict[str, Any],
) -> None:
    """eta alone, with its architecture and how it came to be; `more` joins its provenance.

    Raises OSError where the disk refuses.
    """
    provenance = {
        "meta_step": meta_step,
        "interactions": meta_step * config.interactions_per_meta_step,
        "config": config.as_json(),
        **more,
    }
    published = config.rule.publish(jax.device_get(rule_params))
    save_rule(path, published, config.rule.published().architecture(), provenance)
