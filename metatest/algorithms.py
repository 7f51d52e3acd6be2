"""What is compared: a learned rule, and baselines, which are rules too."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lpg.files.loading import from_file
from lpg.files.storage import RuleFile, RuleFileError, load_rule
from lpg.rule import RuleParams, UpdateRule
from lpg.rules.a2c import A2C
from lpg.rules.learned import Precision
from lpg.rules.lpg import LPG
from lpg.rules.lpg_eq7 import with_baseline


@dataclass(frozen=True)
class Algorithm:
    name: str
    rule: UpdateRule
    rule_params: RuleParams
    meta_trained: bool = True  # or made by hand


def a2c() -> Algorithm:
    """A2C with the published settings, tuned on as many arms as a learned rule.

    alpha_y, which weights the loss of y, weights the value's.
    """
    return Algorithm("a2c", A2C(), (), meta_trained=False)


BASELINES: dict[str, Callable[[], Algorithm]] = {"a2c": a2c}


def choose(
    rule: str, file: RuleFile, baselines: tuple[str, ...], baseline_head: bool, precision: Precision
) -> list[Algorithm]:
    """The rule in `file`, named `rule` by the user, and the baselines in their order.

    A baseline is a name in BASELINES or another learned rule, given as `rule` is. Raises
    ValueError for one that is neither.
    """
    algorithms = [_learned(rule, file, baseline_head, precision, taken=set())]
    for name in baselines:
        taken = {algorithm.name for algorithm in algorithms}
        if name in BASELINES:
            algorithms.append(BASELINES[name]())
        else:
            algorithms.append(_learned(name, _baseline(name), baseline_head, precision, taken))
    return algorithms


def _learned(
    name: str, file: RuleFile, baseline_head: bool, precision: Precision, taken: set[str]
) -> Algorithm:
    """Called by its kind, or by its run directory or name where that is taken.

    Eq. 7's head is for LPG alone: LPG-V's agents have a value already.
    """
    rule, params = from_file(file, name)
    rule = replace(rule, precision=precision)
    if baseline_head and isinstance(rule, LPG):
        rule = with_baseline(rule)
    path = Path(name)
    wanted = [rule.kind, path.resolve().parent.name if path.suffix else name]
    wanted += [f"{wanted[1]}-{i}" for i in range(2, len(taken) + 3)]
    return Algorithm(next(n for n in wanted if n not in taken), rule, params)


def _baseline(name: str) -> RuleFile:
    try:
        return load_rule(name)
    except RuleFileError as error:
        raise ValueError(
            f"Unknown baseline {name!r}; known are {', '.join(BASELINES)}, and rules by file or "
            f"shipped name ({error})"
        ) from error
