"""The Pallas kernel, interpreted, against the scan: values, all gradients; its lowering for TPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from lpg.network import lstm_fused as module
from lpg.network.lstm import LSTMWeights, lstm_scan
from lpg.network.lstm_fused import lstm_fused
from lpg.platform import for_platform
from lpg.rules.lpg import LPG

N = 6


def case(num_steps, rows, size, done_rate):
    rng = np.random.default_rng(0)

    def draw(*shape, scale=1.0):
        return jnp.asarray(scale * rng.normal(size=shape), jnp.float32)

    weights = LSTMWeights(
        draw(N, 4 * size, scale=0.4), draw(size, 4 * size, scale=0.3), draw(4 * size)
    )
    not_done = jnp.asarray(rng.random((num_steps, rows)) > done_rate, jnp.float32)
    return weights, draw(num_steps, rows, N), not_done, draw(num_steps, rows, size)


def values_and_gradients(lstm, args, dtype):
    def loss(weights, inputs, not_done, cotangent):
        hidden = lstm(weights, inputs, not_done, dtype)
        return jnp.sum(cotangent * hidden.astype(jnp.float32)), hidden

    gradient, hidden = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(*args)
    return hidden, *gradient[0], gradient[1]


# Rows that fill no block, one block, and several and a part; units that fill no tile.
@pytest.mark.parametrize(
    "num_steps, rows, size, done_rate",
    [(9, 7, 5, 0.3), (1, 16, 8, 0.0), (3, 75, 16, 0.3), (4, 33, 8, 1.0), (6, 64, 32, 0.0)],
)
def test_equals_the_scan(num_steps, rows, size, done_rate, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 32)
    args = case(num_steps, rows, size, done_rate)
    actual = values_and_gradients(lstm_fused, args, jnp.float32)
    expected = values_and_gradients(lstm_scan, args, jnp.float32)
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5 * float(jnp.abs(b).max()))


def test_bfloat16_stays_close_to_float32(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 32)
    args = case(8, 70, 16, 0.2)
    actual = values_and_gradients(lstm_fused, args, jnp.bfloat16)
    expected = values_and_gradients(lstm_scan, args, jnp.float32)
    assert actual[0].dtype == jnp.bfloat16
    for a, b in zip(actual, expected, strict=True):
        difference = jnp.linalg.norm(a.astype(jnp.float32) - b) / jnp.linalg.norm(b)
        assert 0 < float(difference) < 0.03


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_lowers_for_tpu_at_published_size(dtype):
    """960 lifetimes of 64 environments, 256 units: forward and backward are one kernel each."""
    size, num_steps, rows = 256, 20, 61_440
    shapes = (
        LSTMWeights((N, 4 * size), (size, 4 * size), (4 * size,)),
        (num_steps, rows, N), (num_steps, rows), (num_steps, rows, size),
    )  # fmt: skip
    specs = [
        jax.tree.map(lambda s: jax.ShapeDtypeStruct(s, jnp.float32), x, is_leaf=_is_shape)
        for x in shapes
    ]
    program = jax.jit(lambda *args: values_and_gradients(lstm_fused, args, dtype))
    with for_platform("tpu"):
        text = export.export(program, platforms=["tpu"])(*specs).mlir_module()
    assert text.count("tpu_custom_call") == 2
    assert "stablehlo.while" not in text


def _is_shape(x):
    return isinstance(x, tuple) and all(isinstance(n, int) for n in x)


def test_refused_where_there_is_no_tpu():
    with pytest.raises(ValueError, match="kernel for TPUs"):
        LPG(fused_lstm=True)
