"""Which arm is chosen, on lives planted so that the answer is plain."""

import numpy as np
import pytest
from scipy import stats

from metatest.curve import Curve
from metatest.selection import choose_arm

NAN = np.nan


def curve(returns, rewards, diverged=None):
    """A single log point of as many lives as there are returns."""
    none = np.zeros(len(returns), bool)
    return Curve(
        np.array([10]), np.array([rewards], np.float32), np.array([returns], np.float32),
        none if diverged is None else np.array(diverged),
    )  # fmt: skip


def test_long_episodes_count_as_much_as_short_ones():
    """Chains of length 5 and 50: the first arm masters the short one, the second the long one and
    three quarters of the short one's return. Reward per step would choose the first."""
    choice = choose_arm(curve([1.0, 0.0, 0.75, 1.0], [1 / 5, 0.0, 0.75 / 5, 1 / 50]), 2)
    assert (choice.metric, choice.best) == ("return", 1)
    np.testing.assert_allclose(choice.mean, [0.5, 0.875])
    assert np.argmax([1 / 5, 0.75 / 5 + 1 / 50]) == 0


def test_standard_errors_equal_scipys():
    lives = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    choice = choose_arm(curve(lives.ravel(), np.zeros(24)), 3)
    np.testing.assert_allclose(choice.error, stats.sem(lives.astype(float), axis=1))
    assert np.isnan(choose_arm(curve([1.0, 2.0], [0.0, 0.0]), 2).error).all()


def test_a_life_without_an_end_moves_all_arms_to_reward_per_step():
    """The second arm's agents die with -1; the third's survive and earn, without an end."""
    returns, rewards = [0.5, 0.5, -1.0, -1.0, NAN, NAN], [0.1, 0.1, -0.2, -0.2, 0.4, 0.5]
    choice = choose_arm(curve(returns, rewards), 3)
    assert (choice.metric, choice.best) == ("reward per step", 2)
    np.testing.assert_allclose(choice.mean, [0.1, -0.2, 0.45], rtol=1e-6)


@pytest.mark.parametrize(("returns", "best"), [([9, NAN, 30, NAN], 1), ([NAN, NAN, 5, NAN], 1)])
def test_equal_rewards_per_step_leave_it_to_the_returns_there_are(returns, best):
    """CartPole pays 1 a step, whatever the agent does."""
    assert choose_arm(curve(returns, np.ones(4)), 2).best == best


@pytest.mark.parametrize("late", [9.0, NAN])
def test_a_diverged_life_rules_its_arm_out_and_does_not_change_the_metric(late):
    diverged = [False, True, False, False]
    choice = choose_arm(curve([9.0, late, 1.0, 2.0], [9.0, 9.0, 0.0, 0.0], diverged), 2)
    assert (choice.metric, choice.best) == ("return", 1)
    assert choice.mean.tolist() == [-np.inf, 1.5] and np.isnan(choice.error[0])
