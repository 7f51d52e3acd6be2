"""The two layouts of the LSTM and its heads against each other, in values and gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lpg.network.lstm import LSTMWeights, lstm_feature_major, lstm_scan

T, R, N, H, K = 9, 7, 6, 5, 3


def case(dtype, done_rate=0.3):
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), dtype)

    weights = LSTMWeights(draw(N, 4 * H), draw(H, 4 * H), draw(4 * H))
    not_done = jnp.asarray(rng.random((T, R)) > done_rate, dtype)
    return weights, draw(H, K), draw(T, R, N), not_done, draw(T, R, K)


def row_major(weights, head, inputs, not_done, cotangent, dtype, relu=True):
    hidden = lstm_scan(weights, inputs, not_done, dtype).astype(cotangent.dtype)
    return jnp.sum(cotangent * ((jax.nn.relu(hidden) if relu else hidden) @ head))


def feature_major(weights, head, inputs, not_done, cotangent, dtype, relu=True):
    x = jnp.moveaxis(inputs, 1, 2)
    outputs = lstm_feature_major(weights, head, x, not_done, relu, dtype)
    return jnp.sum(cotangent * jnp.moveaxis(outputs, 1, 2))


def relative(a, b):
    return float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))


@pytest.mark.parametrize("done_rate, relu", [(0.0, True), (0.3, True), (0.3, False), (1.0, True)])
def test_layouts_agree_in_float64(done_rate, relu):
    with jax.enable_x64(True):
        args = case(jnp.float64, done_rate)
        expected, actual = (
            jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)), static_argnums=(5, 6))(
                *args, jnp.float64, relu
            )
            for loss in (row_major, feature_major)
        )
        assert float(jnp.abs(expected[1][2]).max()) > 0.1
        for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


def test_gradient_of_a_gradient_passes_through():
    """A reverse pass over the hand-written backward pass (an export with vjp_order=2 has one)."""
    with jax.enable_x64(True):
        args = case(jnp.float64)

        def squared(loss, x):
            return jnp.sum(jax.grad(loss, argnums=2)(*args[:2], x, *args[3:], jnp.float64) ** 2)

        expected = jax.jit(jax.grad(partial(squared, row_major)))(args[2])
        actual = jax.jit(jax.grad(partial(squared, feature_major)))(args[2])
        np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("loss", [row_major, feature_major])
def test_bfloat16_stays_close_to_float32(loss):
    args = case(jnp.float32)
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2)), static_argnums=5)
    expected, actual = (gradient(*args, dtype) for dtype in (jnp.float32, jnp.bfloat16))
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == jnp.float32
        assert 0 < relative(a, b) < 0.05


def test_bfloat16_on_a_cpu_refuses_a_second_derivative():
    args = case(jnp.float32)

    def squared(x):
        gradient = jax.grad(feature_major, argnums=2)(*args[:2], x, *args[3:], jnp.bfloat16)
        return jnp.sum(gradient**2)

    with pytest.raises(TypeError, match="take precision float32"):
        jax.grad(squared)(args[2])
