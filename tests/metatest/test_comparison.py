"""Verdicts against scipy's test for unequal variances, and by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from test_statistics import result

from metatest.report.comparison import compare, counts, decide
from metatest.report.statistics import summarise


def test_difference_and_error_are_welchs():
    """Welch's t is the difference over its standard error."""
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(1.0, 0.1, 5), rng.normal(0.0, 2.0, 9)
    runs = {"r": [result("a", "lpg", ours.tolist()), result("a", "a2c", theirs.tolist())]}
    (found,) = compare(runs)
    t = stats.ttest_ind(ours, theirs, equal_var=False).statistic
    assert found.difference == pytest.approx(ours.mean() - theirs.mean())
    assert found.difference / found.standard_error == pytest.approx(t)
    assert (found.env, found.algorithm, found.baseline) == ("a", "lpg", "a2c")


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [(2.1, "better"), (2.0, "equal"), (-2.0, "equal"), (-2.1, "worse"), (0.0, "equal")],
)
def test_verdicts_at_two_standard_errors(difference, verdict):
    assert decide(difference, 1.0) == verdict


def test_certain_figures_are_equal_or_not():
    assert [decide(d, 0.0) for d in (0.0, 1.0, -1.0)] == ["equal", "better", "worse"]


def test_the_first_algorithm_against_each_other_of_its_environment():
    high, low = [1.0, 1.1], [0.0, 0.1]
    runs = {
        "one": [
            result("a", "lpg", high), result("a", "a2c", low), result("a", "other", high),
            result("b", "lpg", low), result("b", "a2c", high),
        ],
        "two": [result("b", "lpg", low), result("c", "a2c", low)],
    }  # fmt: skip
    found = [(c.env, c.baseline, c.verdict) for c in compare(runs)]
    assert found == [
        ("a", "a2c", "better"), ("a", "other", "equal"), ("b", "a2c", "worse"),
        ("b", "two: lpg", "equal"),
    ]  # fmt: skip
    tally = {row["baseline"]: row for row in counts(compare(runs))}
    assert tally["a2c"] == {
        "run": "one", "algorithm": "lpg", "baseline": "a2c",
        "better": 1, "equal": 0, "worse": 1, "undecided": 0,
    }  # fmt: skip


def test_no_verdict_and_no_mark_where_budgets_differ_by_more_than_an_update():
    """An update of `lpg` is 100 steps, of `a2c` 10."""
    ours = replace(result("a", "lpg", [5.0, 5.1, 5.2]), updates=[3, 10], interactions=[300, 1000])
    for steps, verdict in ((1100, "better"), (900, "better"), (890, None), (1110, None)):
        theirs = replace(
            result("a", "a2c", [0.0, 0.1, 0.2]), updates=[steps // 10], interactions=[steps]
        )
        runs = {"r": [ours, theirs]}
        (found,) = compare(runs)
        assert (found.verdict, found.steps, found.baseline_steps) == (verdict, 1000, steps)
        assert [row.equal_budgets for row in summarise(runs)] == [verdict is not None] * 2
        assert found.words() == ("better than a2c" if verdict else "unequal steps (a2c)")


def test_no_verdict_without_errors_or_a_common_metric():
    single, plenty = result("a", "lpg", [1.0]), result("a", "a2c", [0.0, 1.0])
    (found,) = compare({"r": [single, plenty]})
    assert found.verdict is None and found.words() == "single seeds (a2c)"
    endless = result("a", "lpg", [1.0, None], reward=[0.5, 0.5])
    (found,) = compare({"r": [endless, plenty]})
    assert (found.verdict, found.metric, found.difference) == (None, None, None)
    assert found.words() == "only one has returns (a2c)"
    assert counts(compare({"r": [endless, plenty]}))[0]["undecided"] == 1
