"""Lambda-returns and GAE against a NumPy loop, rlax and hand-worked values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax
from hypothesis import given, settings
from hypothesis import strategies as st

from lpg.losses.returns import generalised_advantage, lambda_returns

T, B = 5, 4
RETURNS = jax.jit(lambda_returns)
ADVANTAGE = jax.jit(generalised_advantage)


def draw(seed, done_rate=0.3, gamma=0.95):
    rng = np.random.default_rng(seed)
    reward = rng.normal(size=(T, B)).astype(np.float32)
    discount = (gamma * (rng.random((T, B)) >= done_rate)).astype(np.float32)
    value = rng.normal(size=(T + 1, B)).astype(np.float32)
    return reward, discount, value


def forward_view(reward, discount, value, lam):
    """(1-lam) sum_n lam^(n-1) G^(n) with the rest of the weight on the longest n-step return.

    Sutton and Barto 2018, Eq. 12.3: a sum over n-step returns, no recursion.
    """
    num_steps, batch = reward.shape
    out = np.zeros((num_steps, batch))
    for b in range(batch):
        for t in range(num_steps):
            n_step, factor = [], 1.0
            total = 0.0
            for k in range(t, num_steps):
                total += factor * reward[k, b]
                factor *= discount[k, b]
                n_step.append(total + factor * value[k + 1, b])
            weights = [(1 - lam) * lam**i for i in range(len(n_step) - 1)]
            weights.append(lam ** (len(n_step) - 1))
            out[t, b] = np.dot(weights, n_step)
    return out


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.5, 0.95, 1.0]), st.floats(0.0, 1.0))
def test_equal_the_forward_view(seed, lam, done_rate):
    reward, discount, value = draw(seed, done_rate)
    expected = forward_view(reward, discount, value, lam)
    lam = jnp.float32(lam)
    np.testing.assert_allclose(RETURNS(reward, discount, value, lam), expected, atol=2e-5)
    np.testing.assert_allclose(
        ADVANTAGE(reward, discount, value, lam), expected - value[:-1], atol=2e-5
    )


def test_equal_rlax():
    reward, discount, value = draw(1)
    lam = jnp.float32(0.9)
    columns = jax.vmap(rlax.lambda_returns, in_axes=(1, 1, 1, None), out_axes=1)
    np.testing.assert_allclose(
        RETURNS(reward, discount, value, lam), columns(reward, discount, value[1:], 0.9), rtol=1e-5
    )
    columns = jax.vmap(
        rlax.truncated_generalized_advantage_estimation, in_axes=(1, 1, None, 1), out_axes=1
    )
    np.testing.assert_allclose(
        ADVANTAGE(reward, discount, value, lam),
        columns(reward, discount, 0.9, value),
        rtol=1e-4, atol=1e-6,
    )  # fmt: skip


def test_hand_worked():
    """Two steps, gamma 0.5, lam 0.5, V = (1, 2, 4), rewards (1, 3).

    G_1 = 3 + 0.5 * 4 = 5;  G_0 = 1 + 0.5 * (0.5 * 2 + 0.5 * 5) = 2.75.
    """
    got = lambda_returns(
        jnp.array([[1.0], [3.0]]), jnp.full((2, 1), 0.5), jnp.array([[1.0], [2.0], [4.0]]), 0.5
    )
    np.testing.assert_allclose(got[:, 0], [2.75, 5.0])


@pytest.mark.parametrize("lam", [0.0, 0.95, 1.0])
def test_nothing_after_an_episodes_end_enters(lam):
    reward, discount, value = draw(2, done_rate=0.0)
    discount[2] = 0.0
    other = draw(3)
    pairs = zip((reward, discount, value), other, strict=True)
    changed = [np.concatenate([x[:3], y[3:]]) for x, y in pairs]
    a = RETURNS(reward, discount, value, jnp.float32(lam))
    b = RETURNS(*changed, jnp.float32(lam))
    np.testing.assert_array_equal(a[:3], b[:3])
    np.testing.assert_array_equal(a[2], reward[2])  # the last step pays its reward and no more
    assert not np.allclose(a[3:], b[3:])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.5, 1.0]))
def test_rewards_that_a_value_function_explains_leave_no_advantage(seed, lam):
    """r_t = V(s_t) - discount_t V(s_{t+1}), which is Bellman's equation, for every lambda."""
    _, discount, value = draw(seed)
    reward = value[:-1] - discount * value[1:]
    lam = jnp.float32(lam)
    np.testing.assert_allclose(ADVANTAGE(reward, discount, value, lam), 0.0, atol=1e-5)


def test_at_lambda_1_a_trajectory_may_be_cut_where_its_return_is_known():
    """The first steps with G in place of V; with any other lambda V counts before it."""
    reward, discount, value = draw(4)
    for lam, same in ((1.0, True), (0.5, False)):
        whole = np.asarray(RETURNS(reward, discount, value, jnp.float32(lam)))
        known = value.copy()
        known[3] = whole[3]
        padded = [np.concatenate([x[:3], np.zeros((2, B), np.float32)]) for x in (reward, discount)]
        # Two steps that only carry G back to where the cut is.
        padded[1][3:] = 1.0
        known[4:] = whole[3]
        cut = RETURNS(*padded, known, jnp.float32(lam))
        assert np.allclose(cut[:3], whole[:3], atol=1e-5) is same
