"""Lives on JAX's environments that are stopped, killed and taken up again."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from lpg.runs.signals import Stopped
from metatest.algorithms import AlgorithmOptions, choose
from metatest.evaluate import Budget, evaluate, make_task
from metatest.family import TuningOptions
from metatest.saved import Saved
from metatest.taking_up import kept_folder
from metatest.tasks import find_task
from metatest.train_agent import train

BUDGET = Budget(seeds=2, selection_seeds=1, steps=240, num_steps=5)
OPTIONS = AlgorithmOptions(tuning=TuningOptions(num_envs=3, learning_rates=(1e-2,)))
SPEC = replace(find_task("CartPole-v1"), agent="D(4)")


@pytest.fixture(scope="module")
def task():
    """Of a learner with a state of its own, that reads trajectories twice and acts late."""
    (stac,) = choose(("stac[lam,pairs=following,lag=1]",), OPTIONS)
    return make_task(stac, SPEC, BUDGET)


def live(task, saved=None, on_progress=lambda n: None):
    rates = np.array([1e-2, 3e-2])
    key = jax.random.key(1)
    return train(task, key, rates, 0 * rates, 0.9, 8, 4, on_progress, saved=saved)


def assert_same(a, b):
    for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.dtype == y.dtype  # else means of them differ in the last digits
    assert a.traces.keys() == b.traces.keys()


@pytest.fixture(scope="module")
def whole(task):
    return live(task)


@pytest.mark.slow
def test_stopped_by_a_signal_and_taken_up_it_is_the_same_life(task, whole, tmp_path):
    stop, done = [], []
    with pytest.raises(Stopped):
        live(task, Saved(tmp_path, stop), lambda n: (done.append(n), stop.append(n) if n else None))
    assert sum(done) == 2  # at the first point
    again = []
    assert_same(live(task, Saved(tmp_path), again.append), whole)
    assert again[0] == 2 and sum(again) == 8
    assert not (tmp_path / "checkpoints").exists()


def test_killed_it_goes_on_from_its_last_checkpoint(task, whole, tmp_path):
    def kill(updates):
        kill.done += updates
        if kill.done == 6:
            raise KeyboardInterrupt

    kill.done = 0
    with pytest.raises(KeyboardInterrupt):
        live(task, Saved(tmp_path, seconds=0.0), kill)
    with (tmp_path / "points.jsonl").open("a") as log:
        log.write('{"update": 6, "upd')  # torn by the kill
    again = []
    assert_same(live(task, Saved(tmp_path), again.append), whole)
    assert again[0] == 4


def test_what_is_over_is_read_and_not_lived_again(task, whole, tmp_path):
    live(task, Saved(tmp_path))
    done = []
    assert_same(live(replace(task, env=None), Saved(tmp_path), done.append), whole)
    assert done == [8]
    damaged = (tmp_path / "points.jsonl").read_text().replace('"diverged"', '"diver')
    (tmp_path / "points.jsonl").write_text(damaged)
    assert Saved(tmp_path).finished() is None


def test_an_evaluation_keeps_both_phases_and_yields_the_same_result(tmp_path):
    tuning = replace(OPTIONS.tuning, learning_rates=(1e-2, 3e-2))
    (impala,) = choose(("impala",), replace(OPTIONS, tuning=tuning))
    folder = kept_folder(tmp_path, impala, SPEC, BUDGET)
    first = evaluate(impala, SPEC, BUDGET, place=lambda phase: Saved(folder / phase))
    assert {f.name for f in folder.iterdir()} == {"options.json", "selection", "report"}
    assert evaluate(impala, SPEC, BUDGET, place=lambda phase: Saved(folder / phase)) == first


def test_lives_of_other_options_are_refused(tmp_path):
    one, other = choose(("impala[lag=1]", "a2c"), OPTIONS)
    assert kept_folder(tmp_path, one, SPEC, BUDGET) != kept_folder(tmp_path, other, SPEC, BUDGET)
    kept_folder(tmp_path, one, SPEC, BUDGET)  # the same again
    with pytest.raises(ValueError, match=r"steps \(240 -> 480\)"):
        kept_folder(tmp_path, one, SPEC, replace(BUDGET, steps=480))
    tuned = replace(OPTIONS, tuning=replace(OPTIONS.tuning, epsilon=0.5))
    with pytest.raises(ValueError, match=r"tuning.epsilon \(0.1 -> 0.5\)"):
        kept_folder(tmp_path, *choose(("impala[lag=1]",), tuned), SPEC, BUDGET)
