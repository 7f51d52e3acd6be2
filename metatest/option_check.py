"""Every option is taken by an environment and an algorithm that are asked for, or refused by name.

The table of which kind of environment takes which option is `NOT_ATARI` and `NOT_ENVS`; what both
take is in neither.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple, get_type_hints

import jax
import jax.numpy as jnp

from lpg.learner import FrozenRule
from lpg.rules.lpg_eq7 import LPGWithBaseline
from metatest.algorithms import Algorithm
from metatest.atari.games import Game
from metatest.atari.options import AtariOptions
from metatest.family import TuningOptions, options_of
from metatest.family_options import ONLY_TUNED, OWN, taken
from metatest.tasks import TaskSpec
from metatest.training import Training

# Options of --envs alone, and what Atari has in their place.
NOT_ATARI = {
    "steps": "give --atari-options.frames",
    "seeds": "give --atari-options.seeds",
    "selection-seeds": "one agent tries an arm there, for --atari-options.selection-frames",
    "selection-steps": "give --atari-options.selection-frames",
    "num-envs": "give --atari-options.settings.num-envs",
    "num-steps": "give --atari-options.num-steps",
    "gamma": "give --atari-options.gamma, or --tuning.gamma for agents that tune themselves",
    "baseline-head": "agents of LPG have that head there in any case",
    "reward-scale": "rewards are clipped there",
    "reward-centre": "rewards are clipped there",
    "agent": "the network goes with the algorithm there",
    "optimizer": "it goes with the algorithm there",
    "learning-rates": "give --atari-options.learning-rates",
    "prediction-costs": "give --atari-options.prediction-costs",
    "tuning.learning-rates": "give --tuning.atari-rates",
}
# Beginnings of options of --atari alone.
NOT_ENVS = ("atari-options.", "jobs", "tuning.atari-rates")
# Two names of the same.
TWICE = (("gamma", "tuning.gamma"), ("num-envs", "tuning.num-envs"))
# Of a task: two values that an algorithm trains by differently, if it takes the option.
OF_A_TASK = {
    "optimizer": ("sgd", "adam"),
    "learning-rates": ((1.0,), (2.0,)),
    "prediction-costs": ((1.0,), (2.0,)),
}
# Of Atari's options: what to do where all algorithms have their own.
OF_THE_ALGORITHM = {
    "learning-rates": "each has its own, and agents that tune themselves --tuning.atari-rates",
    "prediction-costs": "none has such a cost",
    "gamma": "give --tuning.gamma",
    "settings.num-envs": "give --tuning.num-envs",
}


class Asked(NamedTuple):
    """What a command asks for."""

    specs: list[TaskSpec]
    games: tuple[Game, ...]
    algorithms: list[Algorithm]  # as they are on `specs`
    players: list[Algorithm]  # the same as they are on `games`
    tuning: TuningOptions
    atari_options: AtariOptions


def option_names(command: Any) -> tuple[str, ...]:
    """Of a command, a dataclass, as they are written: nested ones as tuning.num-heads."""
    names, hints = [], get_type_hints(command)
    for field in fields(command):
        name, kind = field.name.replace("_", "-"), hints[field.name]
        inner = option_names(kind) if is_dataclass(kind) else ()
        names += [f"{name}.{x}" for x in inner] or [name]
    return tuple(names)


def given(arguments: Sequence[str], names: Collection[str]) -> list[str]:
    """The options among `names` that a command line has, in its order."""
    found = []
    for word in arguments:
        name = word.removeprefix("--").split("=")[0].replace("_", "-")
        *path, last = name.split(".")
        positive = ".".join([*path, last.removeprefix("no-")])
        found += [x for x in (name, positive) if word.startswith("--") and x in names][:1]
    return list(dict.fromkeys(found))


def refuse_dropped(options: Sequence[str], asked: Asked) -> None:
    """ValueError for an option that nothing that is asked for takes, or for algorithms that cannot
    be told apart."""
    names = [algorithm.name for algorithm in asked.algorithms]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"Two algorithms are called {name}; name one of them.")
    for one, other in TWICE:
        if one in options and other in options:
            raise ValueError(f"--{one} and --{other} say the same; give one of them.")
    for option in options:
        if not asked.specs and option in NOT_ATARI:
            raise ValueError(f"Atari does not take --{option}; {NOT_ATARI[option]}.")
        if not asked.games and option.startswith(NOT_ENVS):
            raise ValueError(f"--{option} is of --atari; name a game with it, or leave it out.")
        if (reason := _not_taken(option, asked)) is not None:
            raise ValueError(f"No algorithm that is named takes --{option}; {reason}.")


def _not_taken(option: str, asked: Asked) -> str | None:
    """Why no algorithm takes the option; None where one does."""
    group, _, own = option.rpartition(".")
    if group == "tuning":
        return _no_member(own.replace("-", "_"), asked)
    if group.startswith("atari-options"):
        return _no_player(option.partition(".")[2], asked)
    if option == "precision":
        learned = any("precision" in algorithm.version for algorithm in asked.algorithms)
        return None if learned else "it is of learned rules"
    if option == "baseline-head":
        with_head = any(_has_head(algorithm) for algorithm in asked.algorithms)
        return None if with_head else "it is of the rule lpg"
    if option in OF_A_TASK:
        taker = _any(asked, lambda training, spec: _takes(training, spec, option))
        tuned = "give --tuning.learning-rates" if option == "learning-rates" else "each has its own"
        return None if taker else tuned
    return None


def _no_member(option: str, asked: Asked) -> str | None:
    if any(option in options_of(x.name, asked.tuning) for x in asked.algorithms):
        return None
    members = [kind for kind in OWN if option in taken(kind, tuned=True)]
    where = ", where they tune something" if option in ONLY_TUNED else ""
    return f"it is of {', '.join(members)}{where}"


def _no_player(option: str, asked: Asked) -> str | None:
    if option == "selection-frames":
        each = [asked.atari_options.of(player) for player in asked.players]
        several = any(len(x.learning_rates) * len(x.prediction_costs) > 1 for x in each)
        return None if several else "each has one arm, so there is nothing to choose"
    if option in OF_THE_ALGORITHM:
        name = option.rpartition(".")[2].replace("-", "_")
        if all(getattr(x.training.atari, name) is not None for x in asked.players):
            return OF_THE_ALGORITHM[option]
    return None


def _any(asked: Asked, takes: Callable[[Training, TaskSpec], bool]) -> bool:
    return any(takes(x.training, spec) for x in asked.algorithms for spec in asked.specs)


def _takes(training: Training, spec: TaskSpec, option: str) -> bool:
    name = option.replace("-", "_")
    one, other = (replace(spec, **{name: value}) for value in OF_A_TASK[option])
    if name != "optimizer":
        return training.arms(one) != training.arms(other)
    states = [training.optimizer(x, 1).init(jnp.zeros(1)) for x in (one, other)]
    return jax.tree.structure(states[0]) != jax.tree.structure(states[1])


def _has_head(algorithm: Algorithm) -> bool:
    learner = algorithm.learner
    return isinstance(learner, FrozenRule) and isinstance(learner.rule, LPGWithBaseline)
