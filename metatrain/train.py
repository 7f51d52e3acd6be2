"""The outer loop of a run: chunks of meta-steps, log lines and checkpoints between them."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn

from envs.suite import SUITE, normalised_return
from lpg.runs.command import progress
from lpg.runs.signals import stop_signals
from metatrain.config import MetaTrainConfig
from metatrain.devices.processes import any_process, is_first, on_first
from metatrain.engine import Engine, EngineState, skipped_in_a_row
from metatrain.initial_rule import read_initial_rule
from metatrain.memory import fitting_engine
from metatrain.metrics import as_record
from metatrain.records.records import Records
from metatrain.validation import Validation

STOPPING = "Stopping after this log interval, if that ends soon; once more to stop at once."


class MetaTrainingDiverged(RuntimeError):
    """Too many non-finite meta-gradients in a row."""


@dataclass(frozen=True)
class RunOptions:
    """Where a run leaves what it finds, and how often."""

    run_dir: Path
    log_every: int  # meta-steps
    checkpoint_every: int  # meta-steps

    def __post_init__(self) -> None:
        for name in ("log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")


def train(config: MetaTrainConfig, options: RunOptions) -> int:
    """Run or resume to `config.meta_steps`; returns the meta-step reached.

    Less than `config.meta_steps` means that a signal asked to stop; everything is saved then.
    """
    console = Console(quiet=not is_first())
    initial = on_first(lambda: read_initial_rule(config))  # refused before anything is written
    records = Records(options.run_dir, config)
    with console.status("compiling"):
        engine = fitting_engine(config.rule, config)
        validation = Validation(config.rule, config, engine.cohorts)
    state, meta_step, damaged = records.start(engine, initial)
    for sentence in damaged:
        print(sentence, file=sys.stderr)
    if meta_step > 0:
        console.print(f"Resuming from meta-step {meta_step}.")
    _say_where(console, engine)
    try:
        with stop_signals(STOPPING) as received, _progress(console) as shown:
            task = shown.add_task("compiling", total=config.meta_steps, completed=meta_step)
            stop = False
            while meta_step < config.meta_steps and not stop:
                end = _next_boundary(meta_step, config, options)
                state, record = run_interval(engine, state, meta_step, end)
                meta_step = end
                _raise_if_diverged(config, state)
                if meta_step % config.validate_every == 0:
                    shown.update(task, completed=meta_step, description="validating")
                    state, record["validation"] = _validate(engine, validation, state)
                records.log(record)
                shown.update(task, completed=meta_step, description=_figures(record))
                if not console.is_terminal:
                    line = f"{meta_step}/{config.meta_steps} {_figures(record)}"
                    console.print(line, soft_wrap=True, markup=False)
                stop = any_process(bool(received))
                due = meta_step % options.checkpoint_every == 0
                if due or meta_step == config.meta_steps or stop:
                    records.save(meta_step, state)
        if not stop:  # which has no time for it
            records.export_rule(meta_step, state)
    finally:
        records.close()
    return meta_step


def _say_where(console: Console, engine: Engine) -> None:
    if jax.device_count() > 1:
        console.print(f"On {engine.mesh.size} of {jax.device_count()} devices.")
    if engine.num_chunks > 1:
        console.print(f"Lifetimes in {engine.num_chunks} chunks a device.")


def _next_boundary(meta_step: int, config: MetaTrainConfig, options: RunOptions) -> int:
    """The next meta-step at which something is logged, validated or saved."""
    steps = (options.log_every, options.checkpoint_every, config.validate_every)
    return min(config.meta_steps, *((meta_step // n + 1) * n for n in steps))


def _validate(
    engine: Engine, validation: Validation, state: EngineState
) -> tuple[EngineState, dict[str, Any]]:
    started = time.perf_counter()
    score, environments = validation(state.selection.average)
    state = engine.select(state, score)
    return state, {
        "score": score,
        "best_score": float(state.selection.best_score),
        "best_meta_step": int(state.selection.best_meta_step),
        "environments": environments,
        "seconds": round(time.perf_counter() - started, 3),
    }


def run_interval(
    engine: Engine, state: EngineState, begin: int, end: int
) -> tuple[EngineState, dict[str, Any]]:
    """Meta-steps `begin` + 1 to `end` as one program, and their line of metrics.jsonl."""
    started = time.perf_counter()
    state, metrics = engine.run(state, end - begin)
    record = as_record(metrics, state.bandits, engine.names, engine.config, end)
    seconds = time.perf_counter() - started
    interactions = (end - begin) * engine.config.interactions_per_meta_step
    record["seconds"] = round(seconds, 3)
    record["interactions_per_second"] = round(interactions / seconds)
    return state, record


def _raise_if_diverged(config: MetaTrainConfig, state: EngineState) -> None:
    in_a_row = skipped_in_a_row(state)
    if in_a_row >= config.max_skipped:
        raise MetaTrainingDiverged(
            f"The last {in_a_row} meta-gradients were not finite, so training has stopped; resume "
            "from the last checkpoint in a new run with a lower --meta-learning-rate."
        )


def _figures(record: dict[str, Any]) -> str:
    """Live figures: normalised return by family, gradient norm, entropy, resets, speed."""
    parts = []
    for family in ("tabular_grid", "random_grid", "chain"):
        values = [
            normalised_return(SUITE[name], value)
            for name, value in record["return"].items()
            if name in SUITE and SUITE[name].family == family and value is not None
        ]
        if values:
            parts.append(f"{family} {np.mean(values):.2f}")
    environments = record["environments"].values()
    entropies = [e["policy_entropy"] for e in environments if e["policy_entropy"] is not None]
    resets = sum(e["lives_deterministic"] for e in environments)
    norm = record["gradient_norm"]
    parts.append(f"|g| {norm:.3g}" if norm is not None else "|g| not finite")
    if entropies:
        parts.append(f"H {np.mean(entropies):.2f}")
    parts.append(f"resets {resets}")
    parts.append(f"{record['interactions_per_second'] / 1e3:,.0f}k steps/s")
    return "  ".join(parts)


def _progress(console: Console) -> Progress:
    done = TextColumn("meta-step"), MofNCompleteColumn()
    return progress(console, *done, description_last=True, live=console.is_terminal)
