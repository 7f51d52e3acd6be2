"""The two layouts of the LSTM against each other, in values and gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lpg.lstm import LSTMWeights, lstm_feature_major, lstm_scan

T, R, N, H = 9, 7, 6, 5


def case(dtype, done_rate=0.3):
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), dtype)

    weights = LSTMWeights(draw(N, 4 * H), draw(H, 4 * H), draw(4 * H))
    not_done = jnp.asarray(rng.random((T, R)) > done_rate, dtype)
    return weights, draw(T, R, N), not_done, draw(T, R, H)


def row_major(weights, inputs, not_done, cotangent, dtype):
    return jnp.sum(cotangent * lstm_scan(weights, inputs, not_done, dtype).astype(cotangent.dtype))


def feature_major(weights, inputs, not_done, cotangent, dtype):
    hidden = lstm_feature_major(weights, jnp.moveaxis(inputs, 1, 2), not_done, dtype)
    return jnp.sum(cotangent * jnp.moveaxis(hidden, 1, 2).astype(cotangent.dtype))


def relative(a, b):
    return float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))


@pytest.mark.parametrize("done_rate", [0.0, 0.3, 1.0])
def test_layouts_agree_in_float64(done_rate):
    with jax.enable_x64(True):
        args = case(jnp.float64, done_rate)
        grad = partial(jax.value_and_grad, argnums=(0, 1))
        expected = grad(row_major)(*args, jnp.float64)
        actual = jax.jit(grad(feature_major), static_argnums=4)(*args, jnp.float64)
        assert float(jnp.abs(expected[1][1]).max()) > 0.1
        for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


def test_gradient_of_a_gradient_passes_through():
    """A reverse pass over the hand-written backward pass (an export with vjp_order=2 has one)."""
    with jax.enable_x64(True):
        args = case(jnp.float64)

        def squared(loss, x):
            return jnp.sum(jax.grad(loss, argnums=1)(args[0], x, *args[2:], jnp.float64) ** 2)

        expected = jax.grad(partial(squared, row_major))(args[1])
        actual = jax.grad(partial(squared, feature_major))(args[1])
        np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("loss", [row_major, feature_major])
def test_bfloat16_stays_close_to_float32(loss):
    args = case(jnp.float32)
    expected = jax.grad(loss, argnums=(0, 1))(*args, jnp.float32)
    actual = jax.grad(loss, argnums=(0, 1))(*args, jnp.bfloat16)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == jnp.float32
        assert 0 < relative(a, b) < 0.05
