"""What is compared: learned rules, A2C, PPO, agents that tune themselves, learners of one's own."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax

from lpg.epochs import Epochs
from lpg.files.loading import from_file
from lpg.files.storage import RuleFile, RuleFileError, digest, load_rule
from lpg.learner import FrozenRule, Learner
from lpg.own import imported, is_import_path, source_digest
from lpg.precision import Precision, is_narrow
from lpg.rule import UpdateRule
from lpg.rules.a2c import A2C
from lpg.rules.lpg import LPG
from lpg.rules.lpg_eq7 import with_baseline
from lpg.rules.own import OwnRule
from lpg.rules.ppo import PPO
from metatest.family import FAMILY, TuningOptions, of_family, version_of
from metatest.lookahead import NAME as LOOKAHEAD
from metatest.lookahead import of_lookahead
from metatest.training import ACTOR_CRITIC, META_TRAINED, PPO_TRAINING, Training


@dataclass(frozen=True)
class Algorithm:
    """A learner by its name in reports."""

    name: str
    learner: Learner
    training: Training = META_TRAINED
    # What tells it from another of its name, so that nothing stored is taken for its own.
    version: dict[str, Any] = field(default_factory=dict)
    file: RuleFile | None = None  # of a learned rule


def a2c() -> Algorithm:
    """A2C with the published settings, tuned on as many arms as a learned rule.

    alpha_y, which weights the loss of y, weights the value's.
    """
    return Algorithm("a2c", FrozenRule(A2C(), ()), ACTOR_CRITIC)


def ppo() -> Algorithm:
    """PPO, four epochs of four minibatches, tuned on as many arms; alpha_y as for A2C."""
    return Algorithm("ppo", Epochs(PPO(), ()), PPO_TRAINING)


BASELINES: dict[str, Callable[[], Algorithm]] = {"a2c": a2c, "ppo": ppo}
NAMES = (*BASELINES, *FAMILY, LOOKAHEAD)


@dataclass(frozen=True)
class AlgorithmOptions:
    """How algorithms are made of their names."""

    baseline_head: bool = False
    precision: Precision = "auto"
    tuning: TuningOptions = TuningOptions()


def choose(names: tuple[str, ...], options: AlgorithmOptions) -> list[Algorithm]:
    """The algorithms of these names, in their order.

    A name is in NAMES, a rule's file or that of a shipped rule, or the package.module:Name of a
    learner. Raises ValueError for one that is none of these.
    """
    algorithms: list[Algorithm] = []
    for name in names:
        taken = {algorithm.name for algorithm in algorithms}
        algorithms.append(_choose(name, options, taken))
    return algorithms


def _choose(name: str, options: AlgorithmOptions, taken: set[str]) -> Algorithm:
    family = of_family(name, options.tuning)
    if name in BASELINES:
        return BASELINES[name]()
    if family is not None:
        return Algorithm(name, *family, version=version_of(name, options.tuning))
    if (lookahead := of_lookahead(name)) is not None:
        return Algorithm(name, *lookahead)
    if is_import_path(name):
        return _own(name, taken)
    file = _file(name)
    learner = learned(name, file, options.baseline_head, options.precision)
    kind = str(file.architecture.get("rule"))
    own = _named(kind.rpartition(":")[2].lower(), _other_name(name), taken)
    return Algorithm(own, learner, version=_version(file, kind, options), file=file)


def _version(file: RuleFile, kind: str, options: AlgorithmOptions) -> dict[str, Any]:
    """Of the rule in `file`, as it is made by `learned`."""
    version = {"rule": f"sha256 {digest(file)}", "architecture": file.architecture}
    if is_import_path(kind):
        return version | {"source": source_digest(kind)}
    precision = "bfloat16" if is_narrow(options.precision) else "float32"
    return version | {"precision": precision, "baseline_head": options.baseline_head}


def _own(name: str, taken: set[str]) -> Algorithm:
    """A learner or rule of the user's own, trained as A2C is, or an `Algorithm` that says how."""
    needed = "a Learner, UpdateRule or Algorithm that is built without arguments"
    made = imported(name, "an algorithm", needed)
    version = {"learner": name, "source": source_digest(name)}
    if isinstance(made, Algorithm):
        return replace(made, version=version | made.version)
    if isinstance(made, UpdateRule):
        made = FrozenRule(made, made.init(jax.random.key(0)))
    if not isinstance(made, Learner):
        raise ValueError(
            f"{name} is no lpg.learner.Learner and no lpg.rule.UpdateRule: it lacks some of their "
            "methods."
        )
    own = _named(name.partition(":")[2].lower(), name, taken)
    return Algorithm(own, made, ACTOR_CRITIC, version)


def learned(name: str, file: RuleFile, baseline_head: bool, precision: Precision) -> FrozenRule:
    """The rule in `file`, called `name` in errors; Eq. 7's head is for LPG alone: LPG-V's agents
    have a value already."""
    rule, params = from_file(file, name)
    if not isinstance(rule, OwnRule):
        rule = replace(rule, precision=precision)
    if baseline_head and isinstance(rule, LPG):
        rule = with_baseline(rule)
    return FrozenRule(rule, params)


def _named(kind: str, other: str, taken: set[str]) -> str:
    """The kind, or the other name where that is taken."""
    wanted = [kind, other, *(f"{other}-{i}" for i in range(2, len(taken) + 3))]
    return next(name for name in wanted if name not in taken)


def _other_name(name: str) -> str:
    """A file is called as its run directory, a shipped rule by its name."""
    path = Path(name)
    return path.resolve().parent.name if path.suffix else name


def _file(name: str) -> RuleFile:
    try:
        return load_rule(name)
    except RuleFileError as error:
        if Path(name).suffix:
            raise
        known = ", ".join(NAMES)
        raise ValueError(
            f"Unknown algorithm {name!r}; known are {known}, rules by file or shipped name, and "
            f"learners of your own as package.module:Name ({error})"
        ) from error
