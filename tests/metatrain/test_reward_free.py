"""Lives in which nothing is earned: no reward, no advantage, and nobody hears of their returns."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import TINY, unbounded

from metatrain import bandit as bandits
from metatrain.cohort import build_cohorts
from metatrain.engine import Engine
from metatrain.lifetime import LifetimeState
from metatrain.window import window_loss
from metatrain.window_end import grow, tell_bandit

CONFIG = replace(
    TINY,
    envs=("short",),
    lifetimes=4,
    num_steps=40,  # in which every chain comes to its end
    num_updates=3,
    lifetime_scale=1.0,
    reward_free_share=0.25,
    reward_free_entropy_cost=0.7,
    unearned_cost=0.5,
)
EARNS = [True, True, True, False]


@pytest.fixture(scope="module")
def window():
    """An engine, its first lifetimes, and what a window makes of them."""
    engine = Engine(CONFIG.rule, CONFIG, devices=jax.devices()[:1])
    state = engine.init(jax.random.key(3))
    keys = (jax.random.split(jax.random.key(1), 4),)
    # Critics that promise something, so that advantages are not zero by themselves.
    (lifetimes,) = state.lifetimes
    table = jax.random.normal(jax.random.key(2), lifetimes.critic.params.shape)
    lifetimes = lifetimes._replace(critic=lifetimes.critic._replace(params=table))
    program = jax.jit(lambda eta, lifetimes: window_loss(
        CONFIG.rule, CONFIG, engine.cohorts, eta, lifetimes, keys, unbounded(CONFIG, keys)
    ))  # fmt: skip
    _, ((after,), (report,)) = program(state.rule_params, (lifetimes,))
    return engine, lifetimes, after, report


def test_the_last_slots_of_each_environment_get_no_reward(window):
    _, before, after, report = window
    np.testing.assert_array_equal(before.earns, EARNS)
    for lifetimes in (before, after):
        earned = np.abs(np.asarray(lifetimes.trajectory.reward)).sum(axis=(1, 2))
        np.testing.assert_array_equal(earned > 0, EARNS)
    np.testing.assert_array_equal(np.asarray(report.episodes.count) > 0, EARNS)
    np.testing.assert_allclose(before.policy_entropy_cost[-1], 0.7)
    assert np.all(np.asarray(before.policy_entropy_cost[:-1]) < 0.1)


def test_their_loss_is_entropy_and_pi_hat_alone(window):
    *_, report = window
    loss = jax.tree.map(np.asarray, report.loss)
    np.testing.assert_array_equal(loss.policy_gradient != 0, EARNS)
    # All of a life's rows are without evidence, not only those read once more.
    unearned, pi_hat, y_hat = (loss.penalties[n] for n in ("unearned", "pi_hat", "y_hat"))
    np.testing.assert_array_equal(unearned == pi_hat, ~np.array(EARNS))
    np.testing.assert_allclose(
        loss.total[-1],
        -0.7 * loss.policy_entropy[-1]
        - CONFIG.prediction_entropy_cost * loss.prediction_entropy[-1]
        + (CONFIG.pi_hat_cost + 0.5) * pi_hat[-1]
        + CONFIG.y_hat_cost * y_hat[-1],
        rtol=1e-5,
    )


def test_bandit_hears_only_of_lives_that_earn(window):
    engine, _, after, report = window
    (cohort,) = engine.cohorts
    over: LifetimeState = after._replace(age=after.duration, scored=jnp.ones(4, bool))
    _, outcome = grow(CONFIG, over, report, jnp.zeros((4, 3)))
    told = tell_bandit(cohort, bandits.init(1, len(cohort.prediction_costs)), outcome)
    assert np.all(np.asarray(outcome.lives.ended))
    assert float(jnp.sum(told.count)) == 3


def test_lives_that_earn_are_left():
    for share, earning in ((0.0, 4), (0.1, 4), (0.5, 2), (0.99, 1)):
        (cohort,) = build_cohorts(CONFIG.rule, replace(CONFIG, reward_free_share=share))
        assert cohort.earns.sum() == earning
    with pytest.raises(ValueError, match="reward_free_share"):
        replace(CONFIG, reward_free_share=1.0)
