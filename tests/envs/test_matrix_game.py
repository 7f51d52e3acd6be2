"""Iterated matrix games: values against a NumPy chain, and rounds by their probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.matrix_game import (
    PRISONERS_DILEMMA,
    game_value,
    mirrored,
    outcome_log_prob,
    play,
)

PAYOFF = jnp.array(PRISONERS_DILEMMA)


def chain(first, second, gamma, num_rounds=2000):
    """Both players' discounted payoffs, from the probabilities of (first's, second's) actions."""
    matrix, total = np.array([[-2.0, 0.0], [-3.0, -1.0]]), np.zeros(2)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    now = {None: 1.0}
    for t in range(num_rounds):
        after = {}
        for last, odds in now.items():
            at = 0 if last is None else 1 + 2 * last[0] + last[1]
            its = 0 if last is None else 1 + 2 * last[1] + last[0]
            for a in (0, 1):
                for b in (0, 1):
                    p, q = sigmoid(first[at]), sigmoid(second[its])
                    each = odds * (p if a == 0 else 1 - p) * (q if b == 0 else 1 - q)
                    after[a, b] = after.get((a, b), 0.0) + each
                    total += gamma**t * each * np.array([matrix[a, b], matrix[b, a]])
        now = after
    return total


def test_values_of_both_players_are_the_chains():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 5)) * 2
    with jax.enable_x64(True):
        ours = [
            float(game_value(jnp.asarray(x), jnp.asarray(y), jnp.array(PRISONERS_DILEMMA), 0.9))
            for x, y in ((first, second), (second, first))
        ]
    np.testing.assert_allclose(ours, chain(first, second, 0.9, 400), rtol=1e-12)
    assert abs(ours[0] - ours[1]) > 0.5


@pytest.mark.parametrize(("logit", "worth"), [(-40.0, -1.0), (40.0, -2.0), (0.0, -1.5)])
def test_action_1_cooperates(logit, worth):
    """All of action 1: -1 a round; of action 0: -2; by coins: the mean of four payoffs."""
    theta = jnp.full(5, logit)
    found = game_value(theta, theta, PAYOFF, 0.96) * (1 - 0.96)
    assert float(found) == pytest.approx(worth, rel=1e-5)


def test_rounds_go_by_the_probabilities():
    """Of 40,000 third rounds in each state and its outcome: 5 sd of a share are below .02."""
    rng = np.random.default_rng(1)
    first, second = (jnp.asarray(x, jnp.float32) for x in rng.normal(size=(2, 5)))
    rounds = jax.jit(play, static_argnums=(3, 4))(jax.random.key(0), first, second, 3, 40_000)
    state, outcome = np.asarray(rounds.state), np.asarray(rounds.outcome)
    assert (state[0] == 0).all()
    np.testing.assert_array_equal(state[1:], 1 + outcome[:-1])
    odds = np.exp(outcome_log_prob(first, second))
    np.testing.assert_allclose(odds.sum(-1), 1, rtol=1e-6)
    for s in range(5):
        own = outcome[state == s]
        assert len(own) > 4_000
        np.testing.assert_allclose(np.bincount(own, minlength=4) / len(own), odds[s], atol=0.04)


def test_a_mirrored_game_is_the_other_players():
    """What is probable for one is as probable for the other; twice is as before."""
    rng = np.random.default_rng(2)
    first, second = (jnp.asarray(x, jnp.float32) for x in rng.normal(size=(2, 5)))
    rounds = play(jax.random.key(1), first, second, 4, 50)
    seen = mirrored(rounds)
    ours = outcome_log_prob(first, second)[rounds.state, rounds.outcome]
    theirs = outcome_log_prob(second, first)[seen.state, seen.outcome]
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert (np.asarray(seen.state) != np.asarray(rounds.state)).any()
    for once, twice in zip(rounds, mirrored(seen), strict=True):
        np.testing.assert_array_equal(once, twice)
