"""The table's figures against closed forms and double loops."""

import numpy as np
import pytest

from metatest.report.results import Result
from metatest.report.statistics import (
    Interval,
    aggregate,
    improvement_probability,
    interquartile_mean,
    interval,
    scores,
    summarise,
)


def result(env, algorithm, late, random=None, reference=None, reward=None):
    n = len(late)
    return Result(
        suite="gymnax", env=env, algorithm=algorithm, learning_rate=0.1, prediction_cost=0.5,
        num_envs=8, gamma=0.99, reward_scale=1.0,
        selection=[[0.1, 0.5, 1.0]], diverged=0, updates=[1], interactions=[10],
        reward_per_step=[[0.0] * n],
        episode_return=[late],
        late_reward_per_step=reward or [0.0] * n, late_return=late,
        random_return=random, reference_return=reference,
    )  # fmt: skip


def test_interquartile_mean_by_hand():
    """Of eight values two are cut from either end: (3 + 4 + 5 + 6) / 4."""
    assert interquartile_mean(np.array([100.0, 3, 4, 5, 6, -100, 90, -90])) == 4.5
    assert interquartile_mean(np.array([1.0, 2, 6])) == 3.0  # too few to cut


def test_improvement_probability_equals_double_loop():
    rng = np.random.default_rng(0)
    ours, theirs = rng.integers(0, 4, 7).astype(float), rng.integers(0, 4, 5).astype(float)
    total = sum((x > y) + 0.5 * (x == y) for x in ours for y in theirs)
    assert improvement_probability(ours, theirs) == pytest.approx(total / 35)


def test_bootstrap_interval_covers_the_mean_of_a_normal():
    """Of the sample mean: 1.96 standard errors either side, within a tenth of one."""
    sample = np.random.default_rng(1).normal(size=400)
    got = interval(sample, statistic=lambda x, axis=-1: np.mean(x, axis=axis))
    error = sample.std() / np.sqrt(400)
    assert got.value == pytest.approx(sample.mean())
    assert got.low == pytest.approx(sample.mean() - 1.96 * error, abs=0.1 * error * 1.96)
    assert got.high == pytest.approx(sample.mean() + 1.96 * error, abs=0.1 * error * 1.96)


def test_single_and_equal_seeds_have_no_doubtful_interval():
    assert interval(np.array([2.0]), statistic=interquartile_mean) == Interval(2.0, None, None)
    assert interval(np.full(5, 2.0), statistic=interquartile_mean) == Interval(2.0, 2.0, 2.0)


def test_a_seed_without_episodes_moves_the_row_to_reward_per_step():
    assert scores(result("a", "x", [1.0, None], reward=[0.3, 0.4]))[0] == "reward per step"
    late, rewards = [1.0, None], [0.3, 0.5]
    rows = summarise({"r": [result("a", "x", late, -2.0, 2.0, reward=rewards)]})
    assert rows[0].metric == "reward per step" and rows[0].mean == pytest.approx(0.4)
    assert rows[0].normalised_mean is None and rows[0].random_return == -2.0


def test_rows_compare_algorithms_of_the_same_environment_only():
    rows = summarise(
        {
            "one": [result("a", "lpg", [3.0, 4.0]), result("a", "a2c", [1.0, 2.0])],
            "two": [result("b", "lpg", [9.0, 9.0]), result("a", "lpg", [5.0, 3.5])],
        }
    )
    assert set(rows[0].improvement) == {"a2c", "two: lpg"} and rows[2].improvement == {}
    assert rows[0].improvement["a2c"].value == 1.0
    assert rows[0].improvement["two: lpg"].value == 0.25  # only 4.0 beats 3.5
    assert rows[0].standard_error == pytest.approx(0.5)


def test_aggregate_pools_normalised_returns():
    runs = {
        "r": [
            result("a", "lpg", [1.0, 2.0], random=0.0, reference=4.0),  # .25 and .5
            result("b", "lpg", [10.0, 10.0], random=0.0, reference=10.0),  # 1 and 1
            result("a", "a2c", [1.0, 2.0], random=0.0, reference=4.0),
        ]
    }
    pooled = aggregate(runs)
    assert set(pooled) == {"lpg"}
    assert pooled["lpg"].value == pytest.approx((0.5 + 1.0) / 2)
