"""LOLA-DiCE in the iterated prisoner's dilemma: expectations over all games of two rounds, roles,
and where exact learners end."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.matrix_game import PRISONERS_DILEMMA, Rounds, game_value
from lpg.losses.estimators import dice, dice_baseline
from metatrain.bias import dilemma, lola
from metatrain.bias.dilemma import Dilemma, born, learned, renewed, summary, swapped
from metatrain.bias.lola import (
    GAMMA,
    Games,
    Plan,
    estimated_return,
    exact_return,
    log_prob_of,
    looked_ahead,
    meta_gradient,
    sample,
)

EXACT = Plan("exact", "exact", "exact")


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def every_game(own, other):
    """All 16 games of two rounds and their probabilities."""
    outcome = jnp.array(list(itertools.product(range(4), repeat=2))).T
    rounds = Rounds(jnp.stack([jnp.zeros(16, int), 1 + outcome[0]]), outcome)
    log_prob = log_prob_of(own, other, rounds)
    return Games(rounds, log_prob), jnp.exp(jnp.sum(log_prob, axis=0))


def two_rounds(own, other):
    """The return of two rounds in closed form."""
    payoff = jnp.array(PRISONERS_DILEMMA)
    odds = jnp.exp(lola.outcome_log_prob(own, other))
    return odds[0] @ (payoff + GAMMA * odds[1:] @ payoff)


def both_orders(function, own, other):
    """Gradients in both, and how that in `other` turns with `own`."""
    slopes = jax.grad(function, argnums=(0, 1))(own, other)
    return [*slopes, jax.jacobian(jax.grad(function, argnums=1))(own, other)]


@pytest.mark.parametrize("off_policy", [False, True])
def test_expected_derivatives_are_the_returns(off_policy):
    own, other, value = draw(0, 5), draw(1, 5), draw(2, 5)
    actors = (draw(3, 5), draw(4, 5)) if off_policy else (own, other)
    games, odds = every_game(*actors)
    assert float(odds.sum()) == pytest.approx(1, abs=1e-14)

    def expected(own, other):
        each = jax.vmap(
            lambda game: estimated_return(own, other, game, value), in_axes=1
        )(jax.tree.map(lambda x: x[:, :, None], games))  # fmt: skip
        return odds @ each

    found = jax.jit(partial(both_orders, expected))(own, other)
    true = jax.jit(partial(both_orders, two_rounds))(own, other)
    for mine, its in zip(found, true, strict=True):
        assert np.abs(its).max() > 1e-2
        np.testing.assert_allclose(mine, its, atol=1e-14)
    if off_policy:
        assert float(expected(own, other)) == pytest.approx(float(two_rounds(own, other)))


def test_ratios_to_oneself_are_those_on_policy():
    log_prob, goes_on = -jnp.abs(draw(5, 6, 3)), jnp.ones((6, 3))
    directions = draw(6, 6, 3)
    for weight in (lambda x, *mu: dice(x, goes_on, *mu), dice_baseline):
        along = [
            lambda x, mu=mu, w=weight: w(log_prob + x * directions, *mu) for mu in ((), (log_prob,))
        ]
        plain, own = along[0](0.0), along[1](0.0)
        np.testing.assert_array_equal(plain, own)
        slope = jax.jacfwd(along[1])(0.0)
        np.testing.assert_array_equal(jax.jacfwd(along[0])(0.0), slope)
        assert np.abs(slope).max() > 0.1


def test_with_no_inner_step_players_are_independent(monkeypatch):
    monkeypatch.setattr(lola, "INNER_RATE", 0.0)
    own, other, value = draw(0, 5), draw(1, 5), draw(2, 5)
    for plan in (EXACT, Plan(3, 3, 4)):
        gradient = jax.jit(partial(meta_gradient, plan))
        found = gradient(jax.random.key(0), own, other, None, value, value)
        returned = exact_return
        if found.games is not None:
            returned = partial(estimated_return, games=found.games, value=value)
        slope = jax.grad(returned)(own, other)
        assert np.abs(slope).max() > 1e-2
        np.testing.assert_allclose(found.gradient, slope, rtol=1e-12)
        np.testing.assert_allclose(found.outer_exact, jax.grad(exact_return)(own, other))


@pytest.mark.slow
def test_an_opponents_step_has_its_value_from_one_role_and_its_derivative_from_the_other():
    own, other, value = draw(0, 5), draw(1, 5), draw(2, 5)

    def ahead(composition, hessian, own):
        plan = Plan(composition, hessian, "exact")
        return looked_ahead(plan, jax.random.key(0), own, other, None, value)

    def both(*sources):
        step = partial(ahead, *sources)
        return step(own), jax.jacobian(step)(own)

    exact, by_value, by_slope = both("exact", "exact"), both("exact", 4), both(4, "exact")
    ascent = jax.grad(lambda x: game_value(x, own, jnp.array(PRISONERS_DILEMMA), GAMMA))
    np.testing.assert_allclose(exact[0], other + 0.3 * ascent(other), rtol=1e-12)
    moved, true = ahead(5_000, "exact", own) - other, exact[0] - other
    assert moved @ true / jnp.sqrt(moved @ moved * (true @ true)) > 0.95
    for i, same, different in ((0, by_value, by_slope), (1, by_slope, by_value)):
        np.testing.assert_allclose(same[i], exact[i], rtol=1e-12)
        assert np.abs(different[i] - exact[i]).max() > 1e-2


def test_an_exact_meta_gradient_is_a_difference():
    own, other, step = draw(0, 5), draw(1, 5), 1e-5
    found = meta_gradient(EXACT, jax.random.key(0), own, other, None, own, own).gradient

    def returned(own):
        ascent = jax.grad(exact_return)(other, own)
        return float(exact_return(own, other + 0.3 * ascent))

    slopes = [returned(own + step * x) - returned(own - step * x) for x in np.eye(5)]
    np.testing.assert_allclose(found, np.array(slopes) / 2 / step, atol=1e-8)
    assert np.abs(found - jax.grad(exact_return)(own, other)).max() > 1e-2


ENDS = [(0, 500, -1.9994), (1, 50, -1.0645), (1, 500, -1.0023)]


def test_where_exact_learners_end():
    """Naive ones defect; those that foresee a step cooperate (spec/bias.md, section 7)."""
    for lookaheads, times in itertools.groupby(ENDS, lambda x: x[0]):
        plan = EXACT._replace(lookaheads=lookaheads)

        def step(players, _, plan=plan):
            players = learned(plan, players, jax.random.key(0))
            return players, players.theta

        start = born(jax.random.key(0), plan)
        theta = jax.jit(lambda x, step=step: jax.lax.scan(step, x, length=500)[1])(start)
        for _, at, worth in times:
            first, second = theta[at - 1]
            np.testing.assert_allclose(first, second, atol=1e-10)
            assert float(exact_return(first, second)) * (1 - GAMMA) == pytest.approx(
                worth, abs=1e-4
            )


def test_the_oldest_games_leave_the_buffer(monkeypatch):
    monkeypatch.setattr(dilemma, "BUFFER", 4)
    theta = jnp.zeros(5)
    old, new = (sample(jax.random.key(k), theta, theta, n) for k, n in ((0, 4), (1, 3)))
    buffer = renewed(old, new)
    for now, fresh, before in zip(*map(jax.tree.leaves, (buffer, new, old)), strict=True):
        np.testing.assert_array_equal(now, np.concatenate([fresh, before[:, :1]], axis=1))
    seen = swapped(buffer)
    np.testing.assert_array_equal(seen.log_prob, buffer.log_prob)
    assert (np.asarray(seen.rounds.outcome) != np.asarray(buffer.rounds.outcome)).any()


@pytest.mark.slow
def test_a_curve_of_every_kind_of_source(monkeypatch):
    """Theta moves, all is finite, and seeds differ."""
    setting = Dilemma("buffer", 4, 4, updates=20, seeds=2)
    found = dilemma.measure(setting)
    assert found.reward.shape == (2, 2) and found.reward.dtype == np.float32
    assert all(np.isfinite(x).all() for x in found)
    assert len(np.unique(found.value)) == 4 and (found.value > -2).all()
    kept = summary(found)
    assert len(kept["last_rewards"]) == 2 and len(kept["acc_se"]) == 2


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"composition": "all"}, "composition must be a number of games or exact or buffer"),
        ({"outer": "buffer"}, "outer must be a number of games or exact, got 'buffer'"),
        ({"hessian": 0}, "hessian must be a number of games or exact or buffer, got 0"),
        ({"updates": 15}, "updates must be a multiple of 10, got 15"),
        ({"lookaheads": -1}, "lookaheads must be at least 0, got -1"),
    ],
)
def test_bad_curves_are_refused(given, told):
    curve = Dilemma()
    for name, value in given.items():  # past the tests' own check of types
        object.__setattr__(curve, name, value)
    with pytest.raises(ValueError, match=told):
        curve.__post_init__()
