"""What is compared: a learned rule, and baselines, which are rules too."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lpg.files.loading import from_file
from lpg.files.storage import RuleFile, RuleFileError, load_rule
from lpg.learner import FrozenRule, Learner
from lpg.precision import Precision
from lpg.rules.a2c import A2C
from lpg.rules.lpg import LPG
from lpg.rules.lpg_eq7 import with_baseline


@dataclass(frozen=True)
class Algorithm:
    """A learner by its name in reports."""

    name: str
    learner: Learner
    meta_trained: bool = True  # or made by hand


def a2c() -> Algorithm:
    """A2C with the published settings, tuned on as many arms as a learned rule.

    alpha_y, which weights the loss of y, weights the value's.
    """
    return Algorithm("a2c", FrozenRule(A2C(), ()), meta_trained=False)


BASELINES: dict[str, Callable[[], Algorithm]] = {"a2c": a2c}


def choose(
    rule: str, file: RuleFile, baselines: tuple[str, ...], baseline_head: bool, precision: Precision
) -> list[Algorithm]:
    """The rule in `file`, named `rule` by the user, and the baselines in their order.

    A baseline is a name in BASELINES or another learned rule, given as `rule` is. Raises
    ValueError for one that is neither.
    """
    algorithms: list[Algorithm] = []

    def add(name: str, source: RuleFile) -> None:
        learner = learned(name, source, baseline_head, precision)
        taken = {algorithm.name for algorithm in algorithms}
        own = _named(name, str(source.architecture.get("rule")), taken)
        algorithms.append(Algorithm(own, learner))

    add(rule, file)
    for name in baselines:
        if name in BASELINES:
            algorithms.append(BASELINES[name]())
        else:
            add(name, _baseline(name))
    return algorithms


def learned(name: str, file: RuleFile, baseline_head: bool, precision: Precision) -> FrozenRule:
    """The rule in `file`, called `name` in errors; Eq. 7's head is for LPG alone: LPG-V's agents
    have a value already."""
    rule, params = from_file(file, name)
    rule = replace(rule, precision=precision)
    if baseline_head and isinstance(rule, LPG):
        rule = with_baseline(rule)
    return FrozenRule(rule, params)


def _named(name: str, kind: str, taken: set[str]) -> str:
    """A rule's kind, or its run directory or name where that is taken."""
    path = Path(name)
    wanted = [kind, path.resolve().parent.name if path.suffix else name]
    wanted += [f"{wanted[1]}-{i}" for i in range(2, len(taken) + 3)]
    return next(n for n in wanted if n not in taken)


def _baseline(name: str) -> RuleFile:
    try:
        return load_rule(name)
    except RuleFileError as error:
        raise ValueError(
            f"Unknown baseline {name!r}; known are {', '.join(BASELINES)}, and rules by file or "
            f"shipped name ({error})"
        ) from error
