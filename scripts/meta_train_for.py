"""Meta-train for so many seconds on an accelerator lent by the hour; what matters fits in a mail.

    python scripts/meta_train_for.py --seconds 240 --output lent -- --preset paper
    python scripts/meta_train_for.py --seconds 5 --output t --wait-for lent/done -- --preset tabular

What follows -- goes to metatrain. Nothing is validated meanwhile, which would take the device from
training and a program of its own: the running mean of eta is written every so many meta-steps, for
`validate_rules.py` to choose from. Left in OUTPUT:

- time.json: seconds to compile, memory, seconds a meta-step, once at the start and over all
- metrics.jsonl: what metatrain logs
- rules/: means of eta by meta-step
- checkpoints/, config.json: eta and its Adam alone, for `metatrain --init-rule OUTPUT`
- state/: a checkpoint of everything, where asked for, to go on from on the same machine
- compiled, done: empty files, for others to wait for
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import tyro

from lpg.runs.checkpoint import Checkpoints
from lpg.runs.command import enable_compilation_cache
from metatrain.cli import parse
from metatrain.config import MetaTrainConfig
from metatrain.engine import Engine, EngineState
from metatrain.initial_rule import InitialRule, read_initial_rule
from metatrain.memory import needed_bytes
from metatrain.records.run_directory import write_rule
from metatrain.train import run_interval


@dataclass(frozen=True)
class Lent:
    """Meta-train until the time is up; what follows -- goes to metatrain."""

    output: Path
    seconds: float
    """Of training; compiling and waiting come on top."""
    until: float | None = None
    """Time of the clock (seconds since 1970) at which to stop in any case."""
    wait_for: Path | None = None
    """A file whose appearance says that the device is free."""
    yield_to: Path | None = None
    """A file without which nobody else could use the device: training goes on until it is there."""
    log_every: int = 20
    """Meta-steps between log lines."""
    keep_every: int = 100
    """Meta-steps between means of eta that are written."""
    save_state: bool = False
    """Leave a checkpoint of everything; one that is there is gone on from in any case."""


def main() -> None:
    cut = sys.argv.index("--")
    lent = tyro.cli(Lent, args=sys.argv[1:cut])
    config = parse(sys.argv[cut + 1 :]).config
    lent.output.mkdir(parents=True, exist_ok=True)
    (lent.output / "config.json").write_text(json.dumps(config.as_json(), indent=1))
    enable_compilation_cache()
    engine = Engine(config.rule, config)
    figures = compiled(engine)
    state = engine.init(jax.random.key(config.seed))
    (lent.output / "compiled").touch()
    print(f"{lent.output.name}: compiled, {figures}", flush=True)
    while lent.wait_for is not None and not lent.wait_for.exists():
        time.sleep(0.2)
    try:
        initial = read_initial_rule(config)
        if (lent.output / "state").exists():
            found = Checkpoints(lent.output / "state").restore_newest(engine.like())
            state = state if found is None else engine.place(found.state)
        elif initial is not None:
            state = engine.start_from(state, initial)
        train(lent, engine, state, figures)
    finally:
        (lent.output / "done").touch()


def compiled(engine: Engine) -> dict[str, Any]:
    """What is known before the first meta-step."""
    started = time.perf_counter()
    needed = needed_bytes(engine)
    return {
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "lifetimes": engine.config.lifetimes,
        "interactions_per_meta_step": engine.config.interactions_per_meta_step,
        "compile_seconds": round(time.perf_counter() - started, 1),
        "gigabytes": round(needed / 1e9, 2),
    }


def train(lent: Lent, engine: Engine, state: EngineState, figures: dict[str, Any]) -> None:
    """Meta-steps until the time is up, then what others go on from."""
    end = min(time.time() + lent.seconds, lent.until or float("inf"))
    state, _ = engine.run(state, 1)  # loads the program, allocates its memory
    first = meta_step = int(state.meta_step)
    began, log = time.perf_counter(), (lent.output / "metrics.jsonl").open("a")
    while time.time() < end or not (lent.yield_to is None or lent.yield_to.exists()):
        steps = lent.log_every - meta_step % lent.log_every
        state, record = run_interval(engine, state, meta_step, meta_step + steps)
        meta_step += steps
        log.write(json.dumps(record) + "\n")
        log.flush()
        if "first_seconds_per_meta_step" not in figures:
            figures["first_seconds_per_meta_step"] = round(record["seconds"] / steps, 4)
            print(f"{lent.output.name}: {figures}", flush=True)
        if meta_step % lent.keep_every == 0:
            keep(lent.output, engine.config, state, meta_step)
    seconds = (time.perf_counter() - began) / max(meta_step - first, 1)
    figures |= {
        "meta_steps": meta_step,
        "seconds_per_meta_step": round(seconds, 4),
        "interactions": meta_step * engine.config.interactions_per_meta_step,
        "interactions_per_second": round(engine.config.interactions_per_meta_step / seconds),
    }
    keep(lent.output, engine.config, state, meta_step)
    Checkpoints(lent.output).save(meta_step, InitialRule(state.rule_params, state.meta_opt_state))
    if lent.save_state:
        Checkpoints(lent.output / "state").save(meta_step, state)
    (lent.output / "time.json").write_text(json.dumps(figures, indent=1))
    print(f"{lent.output.name}: {figures}", flush=True)


def keep(output: Path, config: MetaTrainConfig, state: EngineState, meta_step: int) -> None:
    """The mean of eta as a rule file."""
    (output / "rules").mkdir(exist_ok=True)
    path = output / "rules" / f"{meta_step:06d}.safetensors"
    write_rule(path, config, state.selection.average, meta_step, {})


if __name__ == "__main__":
    main()
