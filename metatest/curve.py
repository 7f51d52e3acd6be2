"""What lives yielded, log point by log point, and how they did in the last tenth."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

LATE = 0.1  # the last tenth of a life


class Curve(NamedTuple):
    """N lives that logged at the same P points."""

    updates: Int[np.ndarray, "P"]  # agent updates done at each point
    reward_per_step: Float[np.ndarray, "P N"]  # means since the point before
    episode_return: Float[np.ndarray, "P N"]  # mean undiscounted; NaN where no episode finished
    diverged: Bool[np.ndarray, "N"]  # lives that ended with parameters that are not finite


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
