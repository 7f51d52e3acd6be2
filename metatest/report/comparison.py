"""The first algorithm against every other, environment by environment: better, equal or worse."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from metatest.report.results import Result
from metatest.report.statistics import label, same_budget, scores, standard_error

Verdict = Literal["better", "equal", "worse"]
_WORDS = {"better": "better than", "equal": "equal to", "worse": "worse than"}
ERRORS = 2.0  # standard errors of the difference that a verdict asks for


@dataclass(frozen=True)
class Comparison:
    """One algorithm's late mean minus a baseline's, on one environment."""

    run: str
    env: str
    algorithm: str
    baseline: str
    metric: str | None  # as in Summary; None where the two have not the same
    difference: float | None
    standard_error: float | None  # of the difference, variances not taken to be equal
    steps: int  # environment steps of one agent's life
    baseline_steps: int
    verdict: Verdict | None  # None where metrics or budgets differ, or an error is not known

    def words(self) -> str:
        """The verdict, or why there is none."""
        if self.verdict is not None:
            return f"{_WORDS[self.verdict]} {self.baseline}"
        if self.metric is None:
            reason = "only one has returns"
        elif self.standard_error is None:
            reason = "single seeds"
        else:
            reason = "unequal steps"
        return f"{reason} ({self.baseline})"


def compare(runs: dict[str, list[Result]]) -> list[Comparison]:
    """Per environment, its first result against every other; `runs` maps names to results."""
    rows = [(run, result) for run, results in runs.items() for result in results]
    first: dict[str, tuple[str, Result]] = {}
    comparisons = []
    for run, result in rows:
        if result.env in first:
            comparisons.append(_compare(*first[result.env], run, result))
        else:
            first[result.env] = run, result
    return comparisons


def by_row(comparisons: list[Comparison]) -> dict[tuple[str, str, str], list[Comparison]]:
    """Per run, environment and algorithm that is compared."""
    found: dict[tuple[str, str, str], list[Comparison]] = {}
    for c in comparisons:
        found.setdefault((c.run, c.env, c.algorithm), []).append(c)
    return found


def counts(comparisons: list[Comparison]) -> list[dict[str, str | int]]:
    """Per algorithm and baseline, on how many environments each verdict was reached."""
    found: dict[tuple[str, str, str], Counter[str]] = {}
    for c in comparisons:
        found.setdefault((c.run, c.algorithm, c.baseline), Counter())[c.verdict or "undecided"] += 1
    return [
        {
            "run": run,
            "algorithm": algorithm,
            "baseline": baseline,
            **{name: verdicts[name] for name in (*get_args(Verdict), "undecided")},
        }
        for (run, algorithm, baseline), verdicts in found.items()
    ]


def _compare(run: str, ours: Result, their_run: str, theirs: Result) -> Comparison:
    (metric, values), (their_metric, their_values) = scores(ours), scores(theirs)
    difference = error = verdict = None
    if metric == their_metric:
        difference = float(values.mean() - their_values.mean())
        errors = standard_error(values), standard_error(their_values)
        error = None if None in errors else float(np.hypot(*errors))  # type: ignore[arg-type]
    if difference is not None and error is not None and same_budget(ours, theirs):
        verdict = decide(difference, error)
    return Comparison(
        run=run,
        env=ours.env,
        algorithm=ours.algorithm,
        baseline=label(their_run, theirs.algorithm, run),
        metric=metric if metric == their_metric else None,
        difference=difference,
        standard_error=error,
        steps=ours.steps,
        baseline_steps=theirs.steps,
        verdict=verdict,
    )


def decide(difference: float, error: float) -> Verdict:
    """Of a difference of means and its standard error."""
    if abs(difference) <= ERRORS * error:
        return "equal"
    return "better" if difference > 0 else "worse"
