"""The LSTM for GPUs against the scan, finite differences and float32, and what it keeps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lpg.network import lstm_rows as module
from lpg.network.lstm import SAVED, LSTMWeights, activate, lstm_scan
from lpg.network.lstm_rows import lstm_rows
from lpg.platform import for_platform
from lpg.rules.lpg import LPG

T, R, N, H, K = 9, 7, 6, 5, 3


def case(dtype, done_rate=0.3, size=H):
    rng = np.random.default_rng(0)

    def draw(*shape, scale=1.0):
        return jnp.asarray(scale * rng.normal(size=shape), dtype)

    weights = LSTMWeights(draw(N, 4 * size), draw(size, 4 * size, scale=size**-0.5), draw(4 * size))
    not_done = jnp.asarray(rng.random((T, R)) > done_rate, dtype)
    return weights, draw(size, K), draw(T, R, N), not_done, draw(T, R, K)


def scan(weights, head, inputs, not_done, relu, dtype):
    hidden = activate(lstm_scan(weights, inputs, not_done, dtype), relu)
    return jnp.matmul(hidden, head.astype(dtype), preferred_element_type=not_done.dtype)


def loss(lstm, weights, head, inputs, not_done, cotangent, dtype, relu=True):
    outputs = lstm(weights, head, inputs, not_done, relu, dtype)
    return jnp.sum(cotangent * outputs), outputs


def outputs_and_gradients(lstm, args, dtype, relu=True):
    gradients = jax.grad(partial(loss, lstm), argnums=(0, 1, 2), has_aux=True)
    bars, outputs = jax.jit(gradients, static_argnums=(5, 6))(*args, dtype, relu)
    return jax.tree.leaves((outputs, bars))


def angle(a, b):
    a, b = np.ravel(a).astype(np.float64), np.ravel(b).astype(np.float64)
    return np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))


# The forward pass unrolled as a whole, and in loops of so many steps that a rest is left.
@pytest.mark.parametrize(
    "done_rate, relu, unroll",
    [(0.0, True, 32), (0.3, True, 4), (0.3, False, 32), (1.0, True, 1)],
)
def test_equals_the_scan_in_float64(done_rate, relu, unroll, monkeypatch):
    monkeypatch.setattr(module, "UNROLL", unroll)
    with jax.enable_x64(True):
        args = case(jnp.float64, done_rate)
        expected = outputs_and_gradients(scan, args, jnp.float64, relu)
        actual = outputs_and_gradients(lstm_rows, args, jnp.float64, relu)
        assert float(jnp.abs(expected[-1]).max()) > 0.1
        for a, b in zip(actual, expected, strict=True):
            assert a.dtype == jnp.float64
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


def test_equals_the_scan_in_float32():
    args = case(jnp.float32)
    expected = outputs_and_gradients(scan, args, jnp.float32)
    for a, b in zip(outputs_and_gradients(lstm_rows, args, jnp.float32), expected, strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5 * float(jnp.abs(b).max()))


def test_gradient_is_that_of_central_differences():
    """One direction through all parameters and inputs at once."""
    with jax.enable_x64(True):
        weights, head, inputs, not_done, cotangent = case(jnp.float64)
        args = weights, head, inputs
        rng = np.random.default_rng(1)
        direction = jax.tree.map(lambda x: rng.normal(size=x.shape), args)

        @jax.jit
        def along(step):
            moved = jax.tree.map(lambda x, d: x + step * d, args, direction)
            return loss(lstm_rows, *moved, not_done, cotangent, jnp.float64)[0]

        expected = (along(1e-5) - along(-1e-5)) / 2e-5
        assert abs(expected) > 0.1
        np.testing.assert_allclose(jax.jit(jax.grad(along))(0.0), expected, rtol=1e-6)


def test_no_gradient_flows_to_data():
    args = case(jnp.float32)
    bar = jax.grad(partial(loss, lstm_rows), argnums=3, has_aux=True)(*args, jnp.float32)[0]
    assert not bar.any()


@pytest.mark.parametrize("relu", [True, False])
def test_bfloat16_strays_no_further_than_the_scan_does(relu):
    """The angle to float32 of outputs and of each gradient, with states of 32 units."""
    args = case(jnp.float32, size=32)
    exact = outputs_and_gradients(scan, args, jnp.float32, relu)
    scans = outputs_and_gradients(scan, args, jnp.bfloat16, relu)
    for a, b, c in zip(outputs_and_gradients(lstm_rows, args, jnp.bfloat16, relu), scans, exact,
                       strict=True):  # fmt: skip
        assert a.dtype == jnp.float32
        assert 0.0 < angle(a, c) < 1.1 * angle(b, c)
        assert abs(np.linalg.norm(a) / np.linalg.norm(c) - 1.0) < 0.02


def test_a_rematerialised_forward_pass_runs_once(monkeypatch):
    """Of states that are kept, two loops are left, one a direction; of none, a third."""
    monkeypatch.setattr(module, "UNROLL", 1)
    args = case(jnp.float32)

    def loops(policy):
        def total(*args):
            kept = jax.checkpoint(partial(loss, lstm_rows), policy=policy, static_argnums=(5,))
            return kept(*args, jnp.float32)[0] ** 2

        program = jax.jit(jax.grad(total, argnums=(0, 1, 2))).lower(*args)
        whole = {"xla_disable_hlo_passes": ""}  # as users' programs are compiled
        return program.compile(whole).as_text().count(" while(")

    keep = jax.checkpoint_policies.save_only_these_names(SAVED)
    assert (loops(keep), loops(jax.checkpoint_policies.nothing_saveable)) == (2, 3)


@pytest.mark.slow
def test_gradient_of_a_gradient_passes_through():
    """A reverse pass over the hand-written one; a forward pass over either JAX refuses."""
    with jax.enable_x64(True):
        args = case(jnp.float64)

        def squared(lstm, x):
            return jnp.sum(slope(lstm, *args[:2], x, *args[3:], jnp.float64)[0] ** 2)

        slope = jax.grad(loss, argnums=3, has_aux=True)
        expected = jax.jit(jax.grad(partial(squared, scan)))(args[2])
        actual = jax.jit(jax.grad(partial(squared, lstm_rows)))(args[2])
        np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-11)


def test_bfloat16_refuses_a_second_derivative():
    args = case(jnp.float32)

    def slope(x):
        bar, _ = jax.grad(loss, argnums=3, has_aux=True)(
            lstm_rows, *args[:2], x, *args[3:], jnp.bfloat16
        )
        return jnp.sum(bar**2)

    with pytest.raises(TypeError, match="take precision float32"):
        jax.grad(slope)(args[2])


@pytest.mark.parametrize(
    "device, program",
    [("cpu", "feature_major"), ("tpu", "scan"), ("gpu", "rows"), ("cuda", "rows")],
)
def test_each_platform_has_its_program(device, program):
    with for_platform(device):
        assert LPG().network.lstm == program
