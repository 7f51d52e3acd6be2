"""Fresh agents under learners: learning, independence of lives, and chunking."""

import json
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces

from lpg.learner import FrozenRule, LearnerState
from lpg.rule import Hypers
from lpg.rules.a2c import A2C
from lpg.rules.lpg import LPG, LPGTargets
from metatest import evaluate as evaluate_module
from metatest.algorithms import Algorithm, a2c
from metatest.curve import Curve, late_rewards
from metatest.evaluate import Budget, evaluate, make_task, plan, total_updates
from metatest.tasks import find_task
from metatest.train_agent import born, run_updates, train

BUDGET = Budget(seeds=3, selection_seeds=1, steps=120 * 16 * 20, num_envs=16)


def test_a2c_masters_the_short_chain():
    """Optimal return is +1, a random policy's 0."""
    result = evaluate(a2c(), find_task("short"), BUDGET)
    assert all(value is not None and value > 0.9 for value in result.late_return)
    assert len(result.selection) == 9 and len(result.late_reward_per_step) == 3
    chosen = max((arm for arm in result.selection if arm[2] is not None), key=lambda arm: arm[2])
    assert (result.learning_rate, result.prediction_cost) == (chosen[0], chosen[1])
    assert (result.selection_metric, result.steps) == ("return", 120 * 16 * 20)


class Endless:
    """1 a step, cut after ten."""

    num_actions, default_params = 2, jnp.int32(10)

    def action_space(self, params):
        return spaces.Discrete(2)

    def reset_env(self, key, params):
        return jnp.ones(1), jnp.int32(0)

    def step_env(self, key, state, action, params):
        return jnp.ones(1), state + 1, jnp.float32(1.0), jnp.bool_(False), {}

    def is_truncated(self, state, params):
        return state >= params


def test_a2cs_value_of_an_endless_world_is_that_of_no_end():
    """1 / (1 - .9) = 10, though episodes are cut after ten steps; as an end that would be 6.5 at
    most, the mean of (1 - .9^k) / .1 over k = 1 to 10 steps left being 4.4."""
    spec = replace(find_task(f"{__name__}:Endless"), agent="D(4)")
    task = make_task(a2c(), spec, replace(BUDGET, num_envs=4))
    hypers = Hypers(*map(jnp.float32, (0.05, 1.0, 0.9)))
    lives = jax.jit(jax.vmap(lambda key: born(task, key, hypers)))(
        jax.random.split(jax.random.key(0), 2)
    )
    lives, _ = jax.jit(lambda x: run_updates(task, x, jnp.int32(400)))(lives)
    value = jax.vmap(lambda theta: task.agent.apply(theta, jnp.ones(1))[-1])(
        lives.learner.agent.params
    )
    np.testing.assert_allclose(value, 10.0, rtol=0.05)


@dataclass(frozen=True)
class Silent(LPG):
    """A rule that asks for nothing: pi_hat = 0."""

    def targets(self, rule_params, inputs):
        shape = inputs.reward.shape
        return LPGTargets(jnp.zeros(shape), jnp.zeros((*shape, self.prediction_size)))


def test_a_rule_that_asks_for_nothing_teaches_nothing():
    rule = Silent(hidden_size=4, prediction_size=5, embedding_size=2)
    algorithm = Algorithm("silent", FrozenRule(rule, ()))
    task = make_task(algorithm, find_task("short"), BUDGET)
    curve = train(
        task, jax.random.key(0), np.full(4, 80.0), np.full(4, 1.0), 0.99, 60, num_points=1
    )
    # 4 lives x 16 environments x 1200 steps, at least 2,500 episodes of return +-1: 4.5 sigma.
    assert np.abs(np.nanmean(curve.episode_return)) < 0.09


@dataclass(frozen=True, eq=False)
class Attentive(FrozenRule):
    """Carries the last trajectory it saw, and how often the oldest of a call was another one."""

    num_trajectories: int = 2
    fresh: int = 1

    def init(self, key, agent):
        del key
        return LearnerState(agent, own=(jnp.full((4, 2), -1), jnp.int32(0), jnp.int32(0)))

    def learn(self, body, optimizer, state, trajectories, hypers):
        oldest, newest = (x.observation for x in trajectories)
        last, others, calls = state.own
        others = others + jnp.any(oldest != last)
        state = super().learn(body, optimizer, state, trajectories[1:], hypers)
        return state._replace(own=(newest, others, calls + 1))


@pytest.mark.parametrize("fresh", [1, 2])
def test_a_learner_gets_as_many_trajectories_as_it_asks_for_and_keeps_the_old(fresh):
    learner = Attentive(A2C(), (), fresh=fresh)
    budget = replace(BUDGET, num_envs=2, num_steps=3)
    task = make_task(Algorithm("attentive", learner), find_task("long"), budget)
    hypers = Hypers(*(jnp.full((3,), x) for x in (20.0, 0.5, 0.99)))
    lives = jax.jit(jax.vmap(lambda key, own: born(task, key, own)))(
        jax.random.split(jax.random.key(0), 3), hypers
    )
    steps = jnp.sum(lives.rollout.env_state.time, axis=1)
    lives, summary = jax.jit(lambda lives: run_updates(task, lives, jnp.int32(4)))(lives)
    _, others, calls = lives.learner.own
    assert calls.tolist() == [4, 4, 4]
    # The first call's oldest is never one that was seen; later ones are, where they are kept.
    assert others.tolist() == ([1, 1, 1] if fresh == 1 else [4, 4, 4])
    assert len(lives.kept) == 2 - fresh and (steps > 0).all() == (fresh == 1)


@pytest.fixture(scope="module")
def task():
    return make_task(a2c(), find_task("short"), replace(BUDGET, num_envs=4))


def test_chunks_do_not_change_a_life(task):
    rates, costs = np.array([20.0, 40.0]), np.zeros(2)
    one = train(task, jax.random.key(1), rates, costs, 0.99, 12, num_points=1)
    many = train(task, jax.random.key(1), rates, costs, 0.99, 12, num_points=4)
    assert many.updates.tolist() == [3, 6, 9, 12]
    np.testing.assert_allclose(many.reward_per_step.mean(axis=0), one.reward_per_step[0], atol=1e-6)


def test_lives_do_not_touch_each_other(task):
    """The first of three lives is the one that is lived alone."""
    rates, costs = np.array([40.0, 80.0, 20.0]), np.zeros(3)
    together = train(task, jax.random.key(2), rates, costs, 0.99, 20, num_points=5)
    alone = train(task, jax.random.key(2), rates[:1], costs[:1], 0.99, 20, num_points=5)
    np.testing.assert_allclose(together.reward_per_step[:, :1], alone.reward_per_step, atol=1e-6)


def test_diverged_agents_are_reported(task):
    curve = train(task, jax.random.key(3), np.array([20.0, np.nan]), np.zeros(2), 0.99, 2)
    assert curve.diverged.tolist() == [False, True]


def test_an_arm_that_diverges_is_never_chosen(monkeypatch):
    """The first arm's agents diverge with the best return; the third is the best that remains."""
    spec = replace(find_task("short"), learning_rates=(20.0, 40.0, 80.0), prediction_costs=(0.5,))

    def planted(task, key, rates, *rest, **options):
        n = len(rates)
        returns = np.array([[9.0, 1.0, 2.0]]) if n == 3 else np.ones((1, n))
        diverged = np.array([True, False, False]) if n == 3 else np.zeros(n, bool)
        return Curve(np.array([4]), np.zeros((1, n)), returns, diverged)

    monkeypatch.setattr(evaluate_module, "train", planted)
    result = evaluate(a2c(), spec, replace(BUDGET, seeds=2))
    assert result.learning_rate == 80.0
    assert [arm[2:] for arm in result.selection] == [[None, None], [1.0, None], [2.0, None]]

    def all_diverge(*arguments, **options):
        return planted(*arguments, **options)._replace(diverged=np.ones(3, bool))

    monkeypatch.setattr(evaluate_module, "train", all_diverge)
    for arms in ((20.0, 40.0, 80.0), (20.0,)):  # a single one is not tried beforehand
        with pytest.raises(FloatingPointError, match="a2c on short diverged with every arm"):
            evaluate(a2c(), replace(spec, learning_rates=arms), BUDGET)


@pytest.mark.parametrize("bad", [1, 2])
def test_rewards_that_are_not_finite_are_the_environments(monkeypatch, capsys, bad):
    """Though agents diverge by them; where one is left there is a result, in words of JSON's."""

    def planted(task, key, rates, *rest, **options):
        nan = np.where(np.arange(len(rates)) % 2 < bad, np.nan, 1.0)
        return Curve(np.array([4]), nan[None], np.ones((1, len(rates))), np.isnan(nan))

    monkeypatch.setattr(evaluate_module, "train", planted)
    spec = replace(find_task("short"), learning_rates=(20.0,), prediction_costs=(0.5,))
    sentence = f"short paid rewards that are not finite to {bad} of 2 agents of a2c"
    if bad == 2:
        with pytest.raises(FloatingPointError, match=sentence):
            evaluate(a2c(), spec, replace(BUDGET, seeds=2))
        return
    result = evaluate(a2c(), spec, replace(BUDGET, seeds=2))
    assert result.reward_per_step == [[None, 1.0]] and result.late_reward_per_step == [None, 1.0]
    assert result.diverged == 1 and sentence in capsys.readouterr().err
    json.dumps(vars(result), allow_nan=False)


def test_a_single_arm_is_not_tried_beforehand(monkeypatch):
    lived = []

    def planted(task, key, rates, *rest, **options):
        lived.append(rates.tolist())
        n = len(rates)
        return Curve(np.array([4]), np.zeros((1, n)), np.ones((1, n)), np.zeros(n, bool))

    monkeypatch.setattr(evaluate_module, "train", planted)
    spec = replace(find_task("short"), learning_rates=(20.0,), prediction_costs=(0.5,))
    result = evaluate(a2c(), spec, replace(BUDGET, seeds=2))
    assert lived == [[20.0, 20.0]] and result.selection == [[20.0, 0.5, None, None]]


def test_arms_can_be_chosen_on_shorter_lives():
    """Those are as of a run of that many steps, and the reported ones as of a run without them."""
    spec = replace(find_task("short"), learning_rates=(20.0, 80.0), prediction_costs=(0.5,))
    short = replace(BUDGET, seeds=1, steps=10 * 16 * 20)
    budget = replace(short, steps=25 * 16 * 20, selection_steps=short.steps)
    done: list[int] = []
    result = evaluate(a2c(), spec, budget, done.append)
    assert sum(done) == total_updates([a2c()], [spec], budget) == 10 + 25
    assert result.selection == evaluate(a2c(), spec, short).selection
    assert (result.selection_steps, result.steps) == (short.steps, budget.steps)
    alone = replace(spec, learning_rates=(result.learning_rate,))
    assert result.episode_return == evaluate(a2c(), alone, budget).episode_return
    with pytest.raises(ValueError, match="319 steps are less .* raise --selection-steps"):
        plan(a2c(), spec, replace(budget, selection_steps=319).of_selection)


def test_late_rewards_weigh_points_by_their_length():
    """Updates 10, 19, 20: the last tenth begins after 18, so points 2 (9 long) and 3 (1 long)."""
    curve = Curve(
        np.array([10, 19, 20]), np.array([[5.0], [1.0], [2.0]]), np.zeros((3, 1)), np.zeros(1, bool)
    )
    np.testing.assert_allclose(late_rewards(curve), [(9 * 1.0 + 1 * 2.0) / 10])


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": 0},
        {"steps": 0},
        {"gamma": 1.0},
        {"selection_seeds": 0},
        {"selection_steps": 0},
        {"seed": 2**32},
    ],
)
def test_budget_refuses_nonsense(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(BUDGET, **change)


def test_a2c_refuses_nonsense():
    with pytest.raises(ValueError, match="lam"):
        A2C(lam=2.0)


def test_arms_are_compared_on_the_same_worlds():
    """Equal seeds and equal hyperparameters give equal lives, whatever their place."""
    task = make_task(a2c(), find_task("short"), BUDGET)
    rates = np.array([20.0, 40.0, 20.0, 20.0])
    seeds = np.array([0, 0, 0, 1])
    curve = train(task, jax.random.key(0), rates, np.full(4, 0.5), 0.99, 40, seeds=seeds)
    first, other_rate, same, other_seed = curve.reward_per_step.T
    np.testing.assert_array_equal(first, same)
    assert (first != other_rate).any() and (first != other_seed).any()
