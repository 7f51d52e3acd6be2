"""What lives yielded, log point by log point, and how they did in the last tenth."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from lpg.rollout import EpisodeSummary

LATE = 0.1  # the last tenth of a life


class Curve(NamedTuple):
    """N lives that logged at the same P points."""

    updates: Int[np.ndarray, "P"]  # agent updates done at each point
    reward_per_step: Float[np.ndarray, "P N"]  # means since the point before
    episode_return: Float[np.ndarray, "P N"]  # mean undiscounted; NaN where no episode finished
    diverged: Bool[np.ndarray, "N"]  # lives that ended with parameters that are not finite
    # f64 [P, N] by name: metaparameters of learners that tune themselves, at the points
    traces: dict[str, np.ndarray] = {}


class Point(NamedTuple):
    """What N lives yielded since the point before."""

    updates: int
    reward_per_step: Float[np.ndarray, "N"]
    episode_return: Float[np.ndarray, "N"]
    traces: dict[str, np.ndarray]


def point(updates: int, steps: int, summary: EpisodeSummary, trace: dict[str, Any]) -> Point:
    """Of `updates` updates, `steps` environment steps of each life; sums as means, in float64 as
    what is read from a file: lives that are taken up again yield the same bits."""
    returns, count, rewards = (np.asarray(x, float) for x in summary)
    means = np.where(count > 0, returns / np.maximum(count, 1), np.nan)
    return Point(updates, rewards / steps, means, by_name(trace))


def as_curve(points: list[Point], diverged: Bool[np.ndarray, "N"]) -> Curve:
    """Points in their order."""
    return Curve(
        updates=np.cumsum([x.updates for x in points]),
        reward_per_step=np.stack([x.reward_per_step for x in points]),
        episode_return=np.stack([x.episode_return for x in points]),
        diverged=diverged,
        traces={name: np.stack([x.traces[name] for x in points]) for name in points[0].traces},
    )


def by_name(trace: dict[str, Any]) -> dict[str, np.ndarray]:
    """Of N lives: [N] by name, where a metaparameter of several heads or quantiles, [N, n], is
    gamma.0 to gamma.n-1."""
    named = {}
    for name, values in trace.items():
        each = np.asarray(values, float)
        if each.ndim == 1:
            named[name] = each
        else:
            named |= {f"{name}.{i}": each[:, i] for i in range(each.shape[1])}
    return named


def late_points(curve: Curve) -> Bool[np.ndarray, "P"]:
    """The log points within the last tenth of life, at least one."""
    late = curve.updates > (1 - LATE) * curve.updates[-1]
    late[-1] = True
    return late


def late_rewards(curve: Curve) -> Float[np.ndarray, "N"]:
    """Mean reward per step over the last tenth."""
    late = late_points(curve)
    lengths = np.diff(np.concatenate([[0], curve.updates]))[late]
    return np.average(curve.reward_per_step[late], axis=0, weights=lengths)


def late_returns(curve: Curve) -> Float[np.ndarray, "N"]:
    """Mean over the log points of the last tenth; NaN where no episode finished."""
    values = curve.episode_return[late_points(curve)]
    present = ~np.isnan(values)
    total = np.where(present, values, 0.0).sum(axis=0)
    return np.where(present.any(axis=0), total / np.maximum(present.sum(axis=0), 1), np.nan)
