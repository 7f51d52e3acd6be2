"""Which arm to train with: the one whose lives end with the best returns."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from metatest.curve import Curve, late_returns, late_rewards
from metatest.report.results import with_none
from metatest.report.statistics import standard_error
from metatest.training import Arm


class Choice(NamedTuple):
    """A arms, compared by their lives late in life."""

    metric: str  # "return", or "reward per step" where a life finished no episode
    mean: Float[np.ndarray, "A"]  # -inf for an arm of which a life diverged
    error: Float[np.ndarray, "A"]  # standard error of the mean; NaN for single or diverged lives
    best: int  # the arm chosen

    def rows(self, arms: Sequence[Arm]) -> list[list[float | None]]:
        """Of each arm, in the order of `arms`: itself, its mean, the mean's error."""
        found = zip(arms, self.mean, self.error, strict=True)
        return [[*arm, with_none(mean), with_none(error)] for arm, mean, error in found]


def choose(arms: Sequence[Arm], live: Callable[[], Curve], who: str) -> tuple[Arm, dict[str, Any]]:
    """The arm to train with, by the lives of `live`, arm after arm, where there are several; and
    what a `Result` says of the choice. Raises FloatingPointError where no arm's lives are sound."""
    if len(arms) == 1:
        return arms[0], {"selection": [[*arms[0], None, None]]}
    choice = choose_arm(live(), len(arms))
    if np.isneginf(choice.mean).all():
        raise diverged(who)
    said = {"selection": choice.rows(arms), "selection_metric": choice.metric}
    return arms[choice.best], said


def diverged(who: str) -> FloatingPointError:
    """What is to be said of an algorithm on an environment."""
    return FloatingPointError(
        f"Agents of {who} diverged with every arm; the algorithm does not suit the environment, or "
        "not with these learning rates."
    )


def choose_arm(curve: Curve, num_arms: int) -> Choice:
    """The arm of the best mean return; `curve` holds its lives arm after arm.

    By return, since reward per step weighs the worlds of an environment by how short their
    episodes are: a chain of length 5 ten times one of 50. An episode as long as a time limit of
    2,000 steps may not end within the last tenth of a short life, though, and the lives that lack
    one can be the best as well as the worst. So where any life lacks one, all arms are compared by
    reward per step; equal ones (CartPole pays 1 a step) by the returns of the lives that have any.
    """
    returns = late_returns(curve)
    finished = np.isfinite(returns) & ~curve.diverged
    complete = bool((finished | curve.diverged).all())
    metric, values = ("return", returns) if complete else ("reward per step", late_rewards(curve))
    sound = np.isfinite(values) & ~curve.diverged
    values = np.where(sound, values, -np.inf).astype(float).reshape(num_arms, -1)
    mean = values.mean(axis=1)
    error = [standard_error(lives) for lives in values]
    of_finished = [
        lives[which].mean() if which.any() else -np.inf
        for lives, which in zip(
            returns.reshape(num_arms, -1), finished.reshape(num_arms, -1), strict=True
        )
    ]
    best = max(range(num_arms), key=lambda arm: (mean[arm], of_finished[arm]))
    return Choice(metric, mean, np.array([np.nan if e is None else e for e in error]), best)
