"""The command `metatrain`: presets from Oh et al. 2020, any field overridden by a flag."""

import sys
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import tyro
from jax.errors import JaxRuntimeError

from lpg.losses.estimators import LearnedSurrogate, refuse_surrogate
from lpg.rules.lpg import LPG
from lpg.runs.checkpoint import CheckpointError
from lpg.runs.command import enable_compilation_cache
from lpg.runs.streams import fail
from metatrain.config import MetaTrainConfig
from metatrain.config_file import read_config
from metatrain.devices.distributed import Distributed, ProcessesError
from metatrain.devices.mesh import UnevenLifetimesError
from metatrain.devices.processes import is_first
from metatrain.environments import own_rows
from metatrain.initial_rule import InitialRuleError
from metatrain.memory import MemoryTooSmallError
from metatrain.presets import PRESETS, WHAT_FOR, with_rule
from metatrain.records.run_directory import RunDirectoryError
from metatrain.train import MetaTrainingDiverged, RunOptions, train


@dataclass(frozen=True)
class Command:
    """Meta-train Learned Policy Gradient (Oh et al. 2020). Run again to resume."""

    # The kind of rule is chosen by --rule before the flags of its fields are known.
    config: Annotated[MetaTrainConfig, tyro.conf.arg(name=""), tyro.conf.AvoidSubcommands]
    run_dir: Path
    """Where checkpoints, logs, curves and the rule go; a run found there is resumed."""
    preset: str | None = None
    """Values to start from: paper, paper_long, published, tabular, cpu, small or quick, which
    `metatrain list` describes."""
    config_file: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """Values to start from, in place of a preset: the config.json of a run."""
    suite: Path | None = None
    """JSON of what environments that are not of the fifteen are learned with, in place of their own
    `suite_row` or of defaults: {"my.worlds:Mine": {"agent": "D(32)", "learning_rates": [1e-3]}}."""
    rule: str = LPG.kind
    """Kind of rule: lpg, lpg_v, which has a TD(lambda) value in place of y (section 4.1), or your
    own as package.module:Name, a class with the methods of lpg.rule.UpdateRule."""
    log_every: int = 10
    """Meta-steps between log lines; between two of them nothing leaves the device."""
    checkpoint_every: int = 100
    """Meta-steps between checkpoints."""
    distributed: Distributed = field(default_factory=Distributed)
    """Several processes; start the same command once for each."""


def parse(arguments: list[str]) -> Command:
    """The command line, on top of the preset or file and the kind of rule that it names.

    Raises ValueError where it names neither, and for what cannot be.
    """
    preset, file = (_value_of(flag, arguments) for flag in ("--preset", "--config"))
    if {"-h", "--help"} & set(arguments) and preset is file is None:
        preset = next(iter(PRESETS))
    if (surrogate := _value_of("--rule.surrogate", arguments)) is not None:
        refuse_surrogate(surrogate, LearnedSurrogate)  # tyro would not say why
    config = _start(preset, file)
    suite = _value_of("--suite", arguments)
    names = _values_of("--envs", arguments) or list(config.envs)
    rows = own_rows(names, None if suite is None else Path(suite), config.rows)
    config = replace(config, rows=rows)
    kind = _value_of("--rule", arguments) or config.rule.kind
    default = Command(
        config=with_rule(config, kind),
        run_dir=Path("runs") / (preset or Path(file or "").stem),
        preset=preset,
        config_file=None if file is None else Path(file),
        rule=kind,
    )
    return tyro.cli(Command, args=arguments, default=default, prog="metatrain")


def _start(preset: str | None, file: str | None) -> MetaTrainConfig:
    if preset is not None and file is not None:
        raise ValueError("Name either --preset or --config, whose values one starts from.")
    if file is not None:
        return read_config(Path(file))
    if preset is None:
        listed = ", ".join(f"{name} ({what})" for name, what in WHAT_FOR.items())
        raise ValueError(f"Name a --preset: {listed}; or a run's config.json with --config.")
    if preset not in PRESETS:
        raise ValueError(f"Unknown preset {preset!r}; known are {', '.join(PRESETS)}.")
    return PRESETS[preset]


def _values_of(flag: str, arguments: list[str]) -> list[str]:
    """All that follow the flag, up to the next one."""
    if flag not in arguments:
        one = _value_of(flag, arguments)
        return [] if one is None else [one]
    following = arguments[arguments.index(flag) + 1 :]
    return list(takewhile(lambda argument: not argument.startswith("--"), following))


def _value_of(flag: str, arguments: list[str]) -> str | None:
    for i, argument in enumerate(arguments):
        if argument == flag and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith(f"{flag}="):
            return argument.split("=", 1)[1]
    return None


def main(arguments: list[str]) -> None:
    """Exit codes: 0 done or stopped by a signal, 2 bad input, 1 anything that failed on the way."""
    try:
        command = parse(arguments)
        options = RunOptions(command.run_dir, command.log_every, command.checkpoint_every)
    except ValueError as error:
        sys.exit(fail("metatrain", error, 2))
    enable_compilation_cache()
    try:
        reached = train(command.config, options)
    except (
        InitialRuleError,
        RunDirectoryError,
        UnevenLifetimesError,
        MemoryTooSmallError,
    ) as error:
        sys.exit(fail("metatrain", error, 2))
    except (CheckpointError, MetaTrainingDiverged, ProcessesError) as error:
        sys.exit(fail("metatrain", error, 1))
    except JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        sentence = (
            "The device ran out of memory; run the same command again with a smaller "
            "--lifetimes-per-chunk, it resumes from the newest checkpoint."
        )
        sys.exit(fail("metatrain", sentence, 1))
    except OSError as error:
        sentence = (
            f"Cannot write to {command.run_dir} ({error.strerror}); make room and run the same "
            "command again, it resumes from the newest checkpoint."
        )
        sys.exit(fail("metatrain", sentence, 1))
    if not is_first():
        return
    if reached < command.config.meta_steps:
        print(f"Saved at meta-step {reached}; run the same command to go on.")
    else:
        print(f"Done: {command.run_dir / 'rule.safetensors'}, curves beside it.")
