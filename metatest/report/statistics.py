"""What a table says of a handful of seeds (Agarwal et al. 2021, by scipy's own functions)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from metatest.report.results import Result

RESAMPLES = 2000
LEVEL = 0.95
QUARTILE = 0.25  # cut from either end for the interquartile mean


@dataclass(frozen=True)
class Interval:
    """A figure and its percentile-bootstrap interval; the bounds are None for a single seed."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Summary:
    """One algorithm on one environment, late in life."""

    run: str
    suite: str
    env: str
    algorithm: str
    learning_rate: float
    prediction_cost: float | None
    metric: str  # "return", or "reward per step" where a seed finished no episode
    steps: int  # environment steps of one agent's life
    seeds: int
    diverged: int
    mean: float
    standard_error: float | None
    iqm: Interval
    random_return: float | None  # of a random policy, where known, whatever the metric
    normalised_mean: float | None
    # per other algorithm of the environment: probability that a run of this one does better
    improvement: dict[str, Interval]
    equal_budgets: bool  # every other algorithm of the environment was given the same steps


def same_budget(one: Result, other: Result) -> bool:
    """Equal environment steps of one agent, but for rounding to whole updates."""
    return abs(one.steps - other.steps) <= max(one.steps_per_update, other.steps_per_update)


def scores(result: Result) -> tuple[str, np.ndarray]:
    """The metric and its values [S]: returns where every seed has one."""
    if all(value is not None for value in result.late_return):
        return "return", np.array(result.late_return, float)
    return "reward per step", np.array(result.late_reward_per_step, float)


def standard_error(values: np.ndarray) -> float | None:
    """Of the mean of values [S]; None for a single one, or where any is not finite."""
    if len(values) < 2 or not _finite(values):
        return None
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def interquartile_mean(values: np.ndarray, axis: int = -1) -> Any:
    """Mean of the middle half: a quarter of the values, rounded down, is cut from either end."""
    return stats.trim_mean(values, QUARTILE, axis=axis)


def interval(*samples: np.ndarray, statistic: Callable[..., Any]) -> Interval:
    """`statistic` of samples that are resampled each on its own."""
    value = float(statistic(*samples))
    if min(len(sample) for sample in samples) < 2 or not all(map(_finite, samples)):
        return Interval(value, None, None)
    if all(np.ptp(sample) == 0 for sample in samples):
        return Interval(value, value, value)  # nothing to resample
    found = stats.bootstrap(
        samples,
        statistic,
        vectorized=True,
        n_resamples=RESAMPLES,
        method="percentile",
        confidence_level=LEVEL,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(value, float(found.low), float(found.high))


def improvement_probability(ours: np.ndarray, theirs: np.ndarray, axis: int = -1) -> Any:
    """P(X > Y) + P(X = Y) / 2 over all pairs: Mann and Whitney's U over the number of pairs."""
    pairs = ours.shape[axis] * theirs.shape[axis]
    u = stats.mannwhitneyu(ours, theirs, axis=axis, method="asymptotic").statistic
    return u / pairs


def summarise(runs: dict[str, list[Result]]) -> list[Summary]:
    """A row for every result; `runs` maps a run's name to its results."""
    rows = [(run, result) for run, results in runs.items() for result in results]
    summaries = []
    for run, result in rows:
        metric, values = scores(result)
        others = {
            label(other_run, other.algorithm, run): other
            for other_run, other in rows
            if other.env == result.env and other is not result
        }
        improvement = {
            name: interval(values, theirs, statistic=improvement_probability)
            for name, (their_metric, theirs) in zip(
                others, map(scores, others.values()), strict=True
            )
            if their_metric == metric
        }
        normalised = [v for v in result.normalised() if v is not None]
        summaries.append(
            Summary(
                run,
                result.suite,
                result.env,
                result.algorithm,
                result.learning_rate,
                result.prediction_cost,
                metric,
                result.steps,
                len(values),
                result.diverged,
                float(values.mean()),
                standard_error(values),
                interval(values, statistic=interquartile_mean),
                result.random_return,
                float(np.mean(normalised)) if len(normalised) == len(values) else None,
                improvement,
                all(same_budget(result, other) for other in others.values()),
            )
        )
    return summaries


def aggregate(runs: dict[str, list[Result]]) -> dict[str, Interval]:
    """Per algorithm, the interquartile mean of normalised returns over environments and seeds.

    Seeds are resampled within their environment. Only environments with references count, and only
    algorithms that have more than one of them.
    """
    found: dict[str, list[np.ndarray]] = {}
    for run, results in runs.items():
        for result in results:
            normalised = result.normalised()
            if all(value is not None for value in normalised):
                name = label(run, result.algorithm, only(runs))
                found.setdefault(name, []).append(np.array(normalised, float))

    def pooled(*samples: np.ndarray, axis: int = -1) -> Any:
        return interquartile_mean(np.concatenate(samples, axis=axis), axis=axis)

    return {n: interval(*s, statistic=pooled) for n, s in found.items() if len(s) > 1}


def label(run: str, algorithm: str, beside: str) -> str:
    """What an algorithm of `run` is called beside one of the run `beside`."""
    return algorithm if run == beside else f"{run}: {algorithm}"


def only(runs: Iterable[str]) -> str:
    """The run that all are of, whose name labels leave out; nothing where there are several."""
    names = set(runs)
    return names.pop() if len(names) == 1 else ""


def by_environment(summaries: list[Summary]) -> dict[str, list[Summary]]:
    """Rows of all runs, in the order in which environments are met."""
    found: dict[str, list[Summary]] = {}
    for summary in summaries:
        found.setdefault(summary.env, []).append(summary)
    return found


def random_returns(rows: list[Summary]) -> list[float]:
    """Those measured on an environment: one, but for runs of several seeds; none where unknown."""
    return list(dict.fromkeys(s.random_return for s in rows if s.random_return is not None))


def _finite(sample: np.ndarray) -> bool:
    return bool(np.isfinite(sample).all())
