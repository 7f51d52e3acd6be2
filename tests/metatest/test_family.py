"""IMPALA and the agents that tune themselves: their names, and their lives under the harness."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lpg.learner import FrozenRule
from lpg.rule import Hypers
from lpg.rules.drmg import DrMG
from lpg.rules.stac import ALL, POLICY_ONLY, STAC, OuterCosts
from lpg.rules.stacx import STACX
from lpg.self_tuning import SelfTuning
from metatest.algorithms import AlgorithmOptions, choose
from metatest.evaluate import Budget, evaluate, make_task, plan
from metatest.family import TuningOptions, of_family
from metatest.tasks import find_task
from metatest.train_agent import born, train, update

OPTIONS = AlgorithmOptions(tuning=TuningOptions(num_envs=4, learning_rates=(1e-2,)))
BUDGET = Budget(seeds=2, selection_seeds=1, steps=320, num_steps=5)


def rule_of(name, **options):
    found = of_family(name, TuningOptions(**options))
    assert found is not None
    return found[0].rule


def test_what_names_stand_for():
    assert rule_of("stac") == STAC() and rule_of("stacx") == STACX()
    assert rule_of("mgrl").outer == POLICY_ONLY and rule_of("mgrl").embedded
    assert rule_of("mgrl", embedded=False).live == ("gamma", "lam")
    assert rule_of("drmg") == DrMG() and rule_of("qr") == DrMG(live=())
    assert rule_of("impala") == STAC(live=())
    assert rule_of("stac", gamma=0.9).reference.gamma == rule_of("stac", gamma=0.9).initial.gamma
    assert of_family("a2c", TuningOptions()) is None
    assert of_family("a/file.safetensors", TuningOptions()) is None


def test_what_nothing_tunes_is_frozen_and_the_others_are_not():
    for name, frozen in (("impala", True), ("qr", True), ("stacx[]", True), ("stac", False)):
        found = of_family(name, TuningOptions(meta_learning_rate=0.5))
        assert found is not None and isinstance(found[0], FrozenRule if frozen else SelfTuning)
        if frozen:
            assert found[0].rule_params == found[0].rule.reference


def test_a_name_carries_metaparameters_and_options():
    assert rule_of("stac[gamma, lam]").live == ("gamma", "lam")
    five = rule_of("stacx[num_heads=5]")
    assert (five.num_heads, five.live) == (5, ALL)
    both = of_family("stac[alpha,pairs=same,lag=2]", TuningOptions())
    assert both is not None
    learner, training = both
    assert (learner.rule.live, learner.pairs, learner.lag, training.lag) == (
        ("alpha",),
        "same",
        2,
        2,
    )
    late = rule_of("stac[start=0.9,start_gamma=0.5,value_cost=0.5,entropy_cost=0.1,kl_cost=0]")
    assert (late.initial.gamma, late.initial.lam) == (0.5, 0.9)
    assert late.outer == OuterCosts(0.5, 1.0, 0.1, 0.0) and late.initial.value_cost == 0.45
    assert rule_of("impala[value_cost=0.5]").reference.value_cost == 0.5
    steps = rule_of("drmg[n_step=3,num_quantiles=4]")
    assert (steps.num_steps, steps.num_quantiles) == (3, 4) and "lam" not in steps.live


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stac[colour]", "'colour' is no metaparameter"),
        ("stac[heads=3]", "'heads', which is no option"),
        ("drmg[lam,n_step=3]", "n-step returns have no lambda"),
        ("stacx[num_heads=0]", "at least 1 head"),
        ("impala[gamma=2]", "gamma must lie"),
        ("stac[start=1]", "start and start_gamma must lie"),
        ("impala[gamma=high]", "gamma cannot be 'high'"),
    ],
)
def test_options_that_there_are_not_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        choose((name,), OPTIONS)


@pytest.mark.parametrize(
    ("name", "gamma"), [("impala[gamma=0.9]", 0.9), ("stac", 0.995), ("lvc_mgrl", 0.99)]
)
def test_a_discount_is_reported_as_it_is_lived_by(name, gamma):
    """Not as the budget of all has it; `--gamma` comes to the family as its default."""
    (algorithm,) = choose((name,), OPTIONS)
    settings = plan(
        algorithm, find_task("CartPole-v1"), replace(BUDGET, gamma=0.5, steps=9_999)
    ).settings
    assert settings.gamma == gamma == algorithm.learner.rule.reference.gamma


def test_updates_are_counted_in_the_steps_that_they_take():
    cartpole = find_task("CartPole-v1")
    stac, impala = choose(("stac", "impala"), OPTIONS)
    assert plan(stac, cartpole, BUDGET)[:2] == (8, 40)
    assert plan(impala, cartpole, BUDGET)[:2] == (16, 20)
    assert plan(impala, cartpole, BUDGET).settings == (4, 0.995, 0.1, 0.0)
    # theta moves as often: the step falls to 0 at the end of either's life.
    ends = []
    for algorithm in (stac, impala):
        optimizer = make_task(algorithm, cartpole, BUDGET).optimizer
        state = optimizer.init(jnp.ones(2))
        for _ in range(16):
            _, state = optimizer.update(jnp.ones(2), state)
        ends.append(float(optimizer.update(jnp.ones(2), state)[0][0]))
    assert ends == [0.0, 0.0]


def test_a_life_has_its_metaparameters_traced_by_name():
    (stacx,) = choose(("stacx[gamma,lam,num_heads=2,meta_learning_rate=.1]",), OPTIONS)
    result = evaluate(stacx, replace(find_task("CartPole-v1"), agent="D(4)"), BUDGET)
    assert set(result.traces) == {"gamma.0", "gamma.1", "lam.0", "lam.1"}
    traced = {name: np.array(x) for name, x in result.traces.items()}
    assert all(x.shape == (8, 2) for x in traced.values())
    moved = {name: np.abs(x[-1] - x[0]).max() for name, x in traced.items()}
    assert all(x > 1e-3 for x in moved.values()) and result.prediction_cost is None
    assert (np.stack(list(traced.values())) < 1).all()
    assert result.interactions[-1] == 320


def one_life(name):
    (algorithm,) = choose((name,), OPTIONS)
    task = make_task(algorithm, replace(find_task("CartPole-v1"), agent="D(4)"), BUDGET)
    hypers = Hypers(*(jnp.full(1, x, jnp.float32) for x in (0.05, 0.5, 0.9)))
    lives = jax.jit(jax.vmap(partial(born, task)))(jax.random.key(3)[None], hypers)
    return task, lives


def test_acting_parameters_lag_by_as_many_updates():
    task, lives = one_life("impala[lag=2]")
    step = jax.jit(lambda x: update(task, x)[0])
    history = [lives.learner.agent.params]
    for _ in range(4):
        lives = step(lives)
        history.append(lives.learner.agent.params)
        oldest = history[max(0, len(history) - 3)]
        for x, y in zip(*map(jax.tree.leaves, (lives.lagging[0].params, oldest)), strict=True):
            np.testing.assert_array_equal(x, y)


def test_an_agent_that_is_told_its_metaparameters_acts_by_them():
    task, lives = one_life("mgrl[meta_learning_rate=1.0,lag=1]")
    first = np.asarray(lives.lagging[0].condition)
    np.testing.assert_allclose(first, [[0.995, 0.99]], rtol=1e-5)
    step = jax.jit(lambda x: update(task, x)[0])
    after = step(lives)
    np.testing.assert_array_equal(after.lagging[0].condition, first)
    after = step(after)
    told = np.asarray(after.lagging[0].condition)
    assert (np.abs(told - first) > 1e-5).all()
    life = jax.tree.map(lambda x: x[0], after)
    observation = jnp.ones((3, 4))
    now = life.policy(task)(observation)
    other = life._replace(lagging=(life.lagging[0]._replace(condition=jnp.zeros(2)),))
    assert not np.allclose(now, other.policy(task)(observation))


@pytest.mark.slow
def test_following_pairs_read_each_trajectory_twice():
    task, lives = one_life("stac[pairs=following]")
    assert len(lives.kept) == 1
    curve = train(task, jax.random.key(0), np.ones(1), np.zeros(1), 0.9, 3, num_points=3)
    assert set(curve.traces) == set(ALL) and np.isfinite(curve.traces["gamma"]).all()


OWN = """
from lpg.learner import FrozenRule
from lpg.rules.a2c import A2C
from metatest.algorithms import Algorithm
from metatest.training import META_TRAINED


class Mine(FrozenRule):
    def __init__(self):
        super().__init__(A2C(entropy_cost=0.5), ())


def described():
    return Algorithm("theirs", Mine(), META_TRAINED)


class Nothing:
    pass
"""


def test_a_learner_of_ones_own_is_one_file_and_its_name(tmp_path, monkeypatch):
    (tmp_path / "own_agent.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    mine, theirs = choose(("own_agent:Mine", "own_agent:described"), OPTIONS)
    assert (mine.name, theirs.name) == ("mine", "theirs")
    spec = replace(find_task("CartPole-v1"), agent="D(4)", learning_rates=(1e-2,))
    result = evaluate(mine, spec, BUDGET)
    assert result.algorithm == "mine" and result.traces == {}
    assert len(result.selection) == 3 and result.num_envs == 8  # trained as A2C is
    with pytest.raises(ValueError, match="no lpg.learner.Learner"):
        choose(("own_agent:Nothing",), OPTIONS)
    with pytest.raises(ValueError, match="Cannot take 'own_agent:Absent' for an algorithm"):
        choose(("own_agent:Absent",), OPTIONS)
