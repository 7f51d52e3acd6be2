"""Eq. 6 by hand, the ring of recent returns against a Python loop, and a planted best arm."""

from collections import defaultdict, deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metatrain import bandit
from metatrain.bandit import BanditState

ARMS = 3
log_probabilities = jax.jit(bandit.log_probabilities, static_argnums=(1, 2))
update = jax.jit(bandit.update)


def probabilities(state, temperature, exploration):
    return np.exp(log_probabilities(state, temperature, exploration))


def record(state, environment, arm, final_return, ended=None):
    arm = jnp.asarray(arm, jnp.int32)
    return update(
        state,
        jnp.broadcast_to(jnp.asarray(environment, jnp.int32), arm.shape),
        arm,
        jnp.asarray(final_return, jnp.float32),
        jnp.ones(arm.shape, bool) if ended is None else jnp.asarray(ended),
    )


def table(means, counts):
    """A bandit of one environment whose arms have these mean recent returns and counts."""
    recent = np.zeros((1, ARMS, bandit.WINDOW), np.float32)
    for arm, (mean, count) in enumerate(zip(means, counts, strict=True)):
        recent[0, arm, : min(count, bandit.WINDOW)] = mean
    return BanditState(jnp.asarray(recent), jnp.asarray([counts], jnp.int32))


def test_hand_worked_table():
    """tau = 0.1, rho = 0.2; arms with recent returns (0.5, 0.7), (0.6 four times), (0.9).

    R = (0.6, 0.6, 0.9), N = (2, 4, 1)
    score = (0.6 + 0.2/sqrt(2), 0.6 + 0.2/2, 0.9 + 0.2) / 0.1 = (7.41421, 7, 11)
    exp(score - 11) = (0.027715, 0.018316, 1), sum 1.046031
    p = (0.026495, 0.017510, 0.955995)
    """
    state = record(bandit.init(1, ARMS), 0, [0, 1, 1, 2], [0.5, 0.6, 0.6, 0.9])
    state = record(state, 0, [1, 0, 1], [0.6, 0.7, 0.6])
    p = probabilities(state, 0.1, 0.2)
    np.testing.assert_allclose(p[0], [0.026495, 0.017510, 0.955995], atol=1e-6)


def test_equal_means_and_counts_are_uniform():
    np.testing.assert_allclose(probabilities(table([0.4] * 3, [7] * 3), 0.1, 0.2)[0], 1 / 3)


def test_fewer_lifetimes_and_higher_returns_are_preferred():
    p = probabilities(table([0.4] * 3, [9, 4, 25]), 0.1, 0.2)[0]
    assert p[1] > p[0] > p[2]
    p = probabilities(table([0.4, 0.5, 0.3], [9] * 3), 0.1, 0.2)[0]
    assert p[1] > p[0] > p[2]


def test_mean_is_over_the_filled_part_of_the_ring():
    """One return of 0.5 weighs as much as thirty of 0.5: only N differs."""
    p = probabilities(table([0.5] * 3, [1, 30, 30]), 1.0, 0.0)[0]
    np.testing.assert_allclose(p, 1 / 3, rtol=1e-6)


def test_arms_never_tried_come_first():
    state = bandit.init(2, ARMS)
    np.testing.assert_allclose(probabilities(state, 0.1, 0.2), 1 / 3, rtol=1e-6)
    state = record(state, 0, [1], [1.0])
    p = probabilities(state, 0.1, 0.2)
    np.testing.assert_allclose(p[0], [0.5, 0.0, 0.5], atol=1e-7)
    np.testing.assert_allclose(p[1], 1 / 3, rtol=1e-6)  # the other environment's own table
    p = probabilities(record(state, 0, [0], [0.0]), 0.1, 0.2)
    np.testing.assert_allclose(p[0], [0.0, 0.0, 1.0], atol=1e-7)


@pytest.mark.parametrize("slots", [1, 40])  # of 40 slots over 6 tables, some lose more than ten
def test_ring_holds_the_last_ten_in_slot_order(slots):
    rng = np.random.default_rng(slots)
    state = bandit.init(2, ARMS)
    last: dict = defaultdict(lambda: deque(maxlen=bandit.WINDOW))
    count = np.zeros((2, ARMS), int)
    most_at_once = 0
    for _ in range(12 if slots > 1 else 60):
        environment = rng.integers(0, 2, slots)
        arm = rng.choice(ARMS, slots, p=[0.7, 0.2, 0.1])
        value, ended = rng.random(slots).astype(np.float32), rng.random(slots) < 0.8
        at_once = np.zeros((2, ARMS), int)
        for i in range(slots):
            if ended[i]:
                last[environment[i], arm[i]].append(value[i])
                at_once[environment[i], arm[i]] += 1
        count += at_once
        most_at_once = max(most_at_once, at_once.max())
        state = record(state, environment, arm, value, ended)
        np.testing.assert_array_equal(state.count, count)
        for e in range(2):
            for a in range(ARMS):
                filled = np.sort(state.recent[e, a])[bandit.WINDOW - len(last[e, a]) :]
                np.testing.assert_array_equal(filled, np.sort(last[e, a]))
    assert most_at_once > bandit.WINDOW if slots > 1 else count.max() > bandit.WINDOW


def test_lives_that_go_on_change_nothing():
    state = record(bandit.init(1, ARMS), 0, [0, 1], [0.3, 0.4])
    after = record(state, 0, [0, 1, 2], [1.0, 1.0, 1.0], [False] * 3)
    jax.tree.map(np.testing.assert_array_equal, after, state)


def test_planted_best_arm_is_found():
    """Arm 2 returns 0.8, the others 0.4, with noise of 0.1: eight lifetimes at a time.

    In the limit scores differ by 4, p(best) = 1 / (1 + 2 exp(-4)) = 0.96.
    """
    key = jax.random.key(0)
    state, means = bandit.init(1, ARMS), jnp.array([0.4, 0.4, 0.8])
    for i in range(40):
        key_arm, key_noise = jax.random.split(jax.random.fold_in(key, i))
        log_p = log_probabilities(state, 0.1, 0.2)[0]
        arm = jax.random.categorical(key_arm, log_p, shape=(8,))
        noise = 0.1 * jax.random.normal(key_noise, (8,))
        state = record(state, 0, arm, jnp.clip(means[arm] + noise, 0.0, 1.0))
    assert int(jnp.argmax(state.count[0])) == 2
    assert 0.85 < probabilities(state, 0.1, 0.2)[0, 2] < 1
    assert (np.asarray(state.count[0]) >= 1).all()
