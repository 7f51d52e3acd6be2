"""The command `metatest`: train fresh agents with a frozen rule, beside baselines."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import partial
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console

from lpg import __version__
from lpg.precision import Precision
from lpg.runs.checkpoint import CheckpointError
from lpg.runs.command import enable_compilation_cache
from lpg.runs.owner import owned
from lpg.runs.signals import Stopped
from lpg.runs.streams import fail
from metatest.algorithms import Algorithm, AlgorithmOptions, choose
from metatest.atari.env import check_installed
from metatest.atari.games import resolve
from metatest.atari.jobs import Jobs, default_number
from metatest.atari.options import AtariOptions
from metatest.atari.sweep import play_all
from metatest.atari.taking_up import AtariRun
from metatest.evaluate import Budget, make_task, plan
from metatest.evaluate_all import evaluate_all
from metatest.family import TuningOptions
from metatest.option_check import Asked, given, option_names, refuse_dropped
from metatest.report.console import print_report
from metatest.report.failures import forget_failures
from metatest.report.run_record import write_record
from metatest.report.write import write_report
from metatest.taking_up import (
    refuse_lives_without_agents,
    refuse_other_lives,
    refuse_other_results,
)
from metatest.tasks import Overrides, find_task

SUBCOMMANDS = {
    "report": "metatest.report.cli",
    "probe": "metatest.probe.cli",
    "rules": "metatest.rules_cli",
    "list": "metatest.listing",
}


@dataclass(frozen=True)
class Command:
    """Train fresh agents with a learned rule and compare with baselines.

    `metatest report RUN...` puts several finished runs side by side, `metatest probe` looks into a
    rule, `metatest rules` lists those that are shipped, `metatest list` all names that there are.
    """

    rule: str
    """A .safetensors file that metatrain wrote, the name of a shipped rule (lpg-15), a2c, one of
    impala, mgrl, stac, stacx, drmg, qr and lvc_mgrl, which may carry options, as stac[gamma,lam],
    or a learner of your own, as package.module:Name."""
    run_dir: Path
    """Where results.jsonl, the curves and report.html go."""
    envs: tuple[str, ...] = ()
    """Environments: the fifteen of Oh et al. 2020 by name, gymnax's by id, package.module:Class."""
    atari: tuple[str, ...] = ()
    """Atari games by name (Breakout, yars_revenge), or atari57; resumed where they were stopped."""
    atari_options: AtariOptions = field(default_factory=AtariOptions)
    """Published settings; the rule gets Eq. 7's head f(s) there."""
    jobs: int | None = None
    """Atari's agents that are trained at a time, each in a process of its own; else one for every
    four cores. Their numbers do not depend on it."""
    seeds: int = 8
    """Fresh agents whose results are reported."""
    selection_seeds: int = 8
    """Agents per arm on which the best arm is chosen, by return; never among those reported. On
    `long` two choose A2C's arm no better than a coin: that costs 0.07 of a return of 1, eight 0.04,
    sixteen 0.02 (128,000 steps; scripts/selection_seeds.py)."""
    steps: int | None = None
    """Environment steps of one agent's life, the same for every algorithm to within an update; else
    Table 3's lifetime, and 512,000 on gymnax."""
    selection_steps: int | None = None
    """Environment steps of a life on which an arm is chosen, as it would be of a whole life that
    long; else as many as --steps."""
    baselines: tuple[str, ...] = ()
    """Run beside it for as many steps, named as --rule is."""
    num_envs: int | None = None
    """Parallel environments per agent; else 64 (Table 2), for A2C on gymnax 8, for agents that tune
    themselves as --tuning has it."""
    num_steps: int = 20
    """Steps of a trajectory (Table 2: 20)."""
    gamma: float | None = None
    """Discount factor of every algorithm; else 0.995 (Table 2), for A2C on gymnax 0.99."""
    baseline_head: bool = False
    """Eq. 7: agents of the learned rule get a head f(s) that is subtracted from pi_hat."""
    reward_scale: float | None = None
    """Multiplies the rewards that algorithms learn from; those reported stay as they are. Else 1,
    and 0.1 on CartPole, Acrobot and MountainCar, whose returns are in the hundreds, where they are
    not read from a centre."""
    reward_centre: float | None = None
    """A centre c: steps that pay it are read as 0, and the end of an episode as what c a step would
    have come to for ever, which is the unit (shaping by a constant potential, Ng et al. 1999; no
    policy becomes better or worse than another). Else none, but for learned rules on those three
    and for A2C on CartPole what a step pays there."""
    agent: str | None = None
    """Network in Table 3's notation, such as D(64-64) or C(16)-D(128), in place of the default."""
    optimizer: Literal["sgd", "adam"] | None = None
    """In place of the task's own."""
    learning_rates: tuple[float, ...] | None = None
    """Arms of the learning rate in place of the task's own."""
    prediction_costs: tuple[float, ...] | None = None
    """Arms of alpha_y (for A2C: of the value's weight) in place of 0.1, 0.5 and 1."""
    tuning: TuningOptions = field(default_factory=TuningOptions)
    """IMPALA and the agents that tune themselves."""
    precision: Precision = "auto"
    """Of the rule's LSTM; auto is bfloat16 on GPU and TPU, float32 on CPU."""
    seed: int = 0
    """Of every random draw."""
    save_agents: bool = False
    """Keep the agents that are reported, as agents/ENVIRONMENT/ALGORITHM/seed0.safetensors and so
    on, and draw the first one's episodes in videos/ on grid worlds, chains and MinAtar. From Python
    metatest.agents.load gives one back."""


def main() -> None:
    """Exit codes: 0 done, 2 bad input, 1 agents that diverged or results that found no place."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        print(f"metatest {__version__}")
        return
    if arguments and arguments[0] in SUBCOMMANDS:
        # Imported only when asked for: what a subcommand needs can take seconds to import.
        sys.exit(import_module(SUBCOMMANDS[arguments[0]]).main(arguments[1:]))
    command = tyro.cli(Command, args=arguments, prog="metatest")
    try:
        asked = _asked(command)
        refuse_dropped(given(arguments, option_names(Command)), asked)
        if asked.games:
            check_installed()
        budget = Budget(**{part.name: getattr(command, part.name) for part in fields(Budget)})
        for spec, algorithm in product(asked.specs, asked.algorithms):
            make_task(algorithm, spec, budget)  # what cannot be is refused at once
            plan(algorithm, spec, budget.of_selection)
    except ValueError as error:
        sys.exit(fail("metatest", error, 2))
    enable_compilation_cache()
    try:
        command.run_dir.mkdir(parents=True, exist_ok=True)
        with owned(command.run_dir):
            sound = _run(command, arguments, asked, budget)
    except Stopped:
        Console().print("Saved; run the same command to go on.")
        return
    except ValueError as error:
        sys.exit(fail("metatest", error, 2))
    except CheckpointError as error:
        sys.exit(fail("metatest", error, 1))
    except OSError as error:
        cause = f"Cannot write to {command.run_dir} ({error.strerror})"
        sys.exit(fail("metatest", f"{cause}; choose another --run-dir.", 1))
    if not sound:
        sys.exit(1)  # each failure has had its sentence


def _run(command: Command, arguments: list[str], asked: Asked, budget: Budget) -> bool:
    """Whether everything that was asked for has a result."""
    console, run_dir = Console(), command.run_dir
    _refuse_other(command, asked, budget)  # before anything is written over
    (run_dir / "results.jsonl").touch()
    forget_failures(run_dir)
    file = asked.algorithms[0].file
    write_record(run_dir, ["metatest", *arguments], command.rule, file)
    sound = evaluate_all(
        run_dir, asked.algorithms, asked.specs, budget, console, command.save_agents
    )
    if asked.games:
        options, saving = command.atari_options, command.save_agents
        sound &= play_all(
            run_dir,
            asked.players,
            asked.games,
            options,
            console,
            command.seed,
            saving,
            _jobs(command),
        )
    print_report(write_report(run_dir, [run_dir]), run_dir)
    return sound


def _asked(command: Command) -> Asked:
    """Raises ValueError for what there is not."""
    if command.jobs is not None and command.jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {command.jobs}.")
    if not command.envs and not command.atari:
        raise ValueError("Name at least one environment with --envs or game with --atari.")
    overrides = Overrides(
        command.agent, command.optimizer, command.learning_rates, command.prediction_costs
    )
    tuning = command.tuning
    of_envs = tuning if command.gamma is None else replace(tuning, gamma=command.gamma)
    return Asked(
        specs=[overrides.apply(find_task(name)) for name in command.envs],
        games=resolve(command.atari),
        algorithms=_algorithms(command, command.baseline_head, of_envs)(),
        players=_players(command)() if command.atari else [],
        tuning=tuning,
        atari_options=command.atari_options,
    )


def _algorithms(
    command: Command, baseline_head: bool, tuning: TuningOptions
) -> Callable[[], list[Algorithm]]:
    """What makes them, here and in processes of their own."""
    options = AlgorithmOptions(baseline_head, command.precision, tuning)
    return partial(choose, (command.rule, *command.baselines), options)


def _players(command: Command) -> Callable[[], list[Algorithm]]:
    tuning = replace(command.tuning, lag=max(1, command.tuning.lag))  # the emulator's
    return _algorithms(command, True, tuning)


def _jobs(command: Command) -> Jobs | None:
    number = default_number() if command.jobs is None else command.jobs
    return Jobs(number, _players(command)) if number > 1 else None


def _refuse_other(command: Command, asked: Asked, budget: Budget) -> None:
    """ValueError where the run directory holds what this command would take for its own."""
    run_dir = command.run_dir
    if asked.specs:
        refuse_other_results(run_dir, asked.algorithms, atari=False)
    if asked.games:
        refuse_other_results(run_dir, asked.players, atari=True)
    for spec, algorithm in product(asked.specs, asked.algorithms):
        refuse_other_lives(run_dir, algorithm, spec, budget)
        if command.save_agents:
            refuse_lives_without_agents(run_dir, algorithm, spec, budget.seeds)
    for game, player in product(asked.games, asked.players):
        AtariRun(player, game, command.atari_options, run_dir, command.seed).refuse_other()
