"""The divergence and its derivatives against SciPy and float64 central differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, rel_entr, softmax

from lpg.losses.kl_divergence import kl_divergence, kl_gradient

ROWS, M = 7, 5


def draws(*seeds):
    return tuple(np.random.default_rng(seed).normal(size=(ROWS, M)) * 2 for seed in seeds)


def scipy_divergence(logits, target_logits):
    return rel_entr(softmax(logits, axis=-1), softmax(target_logits, axis=-1)).sum(-1)


def scipy_gradient(logits, target_logits):
    """By central differences of SciPy's divergence, whose rows do not touch each other."""
    steps = 1e-5 * np.eye(M)
    columns = [
        (scipy_divergence(logits + e, target_logits) - scipy_divergence(logits - e, target_logits))
        / 2e-5
        for e in steps
    ]
    return np.stack(columns, axis=-1)


def central(f, x):
    """The gradient of a number, entry by entry."""
    out = np.zeros_like(x)
    for i in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[i] = 1e-6
        out[i] = (f(x + step) - f(x - step)) / 2e-6
    return out


def test_value():
    logits, target = draws(0, 1)
    np.testing.assert_allclose(
        kl_divergence(jnp.float32(logits), jnp.float32(target)),
        scipy_divergence(logits, target),
        rtol=1e-4,
    )


def test_first_derivatives():
    logits, target = draws(0, 1)
    weights = np.random.default_rng(2).normal(size=ROWS)

    def loss(logits, target):
        return jnp.sum(jnp.float32(weights) * kl_divergence(logits, target))

    got = jax.grad(loss, argnums=(0, 1))(jnp.float32(logits), jnp.float32(target))
    expected = weights[:, None] * scipy_gradient(logits, target)
    np.testing.assert_allclose(got[0], expected, atol=2e-5)
    expected = central(lambda u: float(weights @ scipy_divergence(logits, u)), target)
    np.testing.assert_allclose(got[1], expected, atol=2e-5)


@pytest.mark.parametrize("argument", (0, 1))
def test_second_derivatives(argument):
    """Of the gradient, by differences of the closed form that `test_first_derivatives` holds to."""
    arguments, (weights,) = draws(0, 1), draws(2)

    def projected(*arguments):
        return jnp.sum(jnp.float32(weights) * kl_gradient(*arguments))

    def in_float64(x):
        logits, target = (x if i == argument else a for i, a in enumerate(arguments))
        y, ratio = softmax(logits, axis=-1), log_softmax(logits, -1) - log_softmax(target, -1)
        return np.sum(weights * y * (ratio - np.sum(y * ratio, -1, keepdims=True)))

    got = jax.grad(projected, argnums=argument)(*(jnp.float32(a) for a in arguments))
    np.testing.assert_allclose(got, central(in_float64, arguments[argument]), atol=5e-5)


def test_gradient_of_the_gradient_is_that_of_the_loss():
    """An outer derivative through `jax.grad` of the divergence, as the meta-gradient takes it."""
    (logits, target), (weights,) = draws(0, 1), draws(2)
    logits, target, weights = (jnp.float32(a) for a in (logits, target, weights))

    def outer(divergence, logits, target):
        inner = jax.grad(lambda z: jnp.sum(divergence(z, target)))(logits)
        return jnp.sum(weights * inner)

    def plain(logits, target):
        ratio = jax.nn.log_softmax(logits) - jax.nn.log_softmax(target)
        return jnp.sum(jax.nn.softmax(logits) * ratio, axis=-1)

    for argument in (1, 2):
        got = jax.grad(outer, argnums=argument)(kl_divergence, logits, target)
        expected = jax.grad(outer, argnums=argument)(plain, logits, target)
        np.testing.assert_allclose(got, expected, atol=2e-5)


BOTH = jax.jit(lambda *x: (kl_divergence(*x), kl_gradient(*x)))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1_000), st.floats(-30, 30), st.floats(-30, 30))
def test_only_distributions_count_and_a_gradient_pulls_between_their_components(seed, a, b):
    """Neither divergence nor gradient sees what a softmax does not; no component gains alone."""
    logits, target = (jnp.float32(x) for x in draws(seed, seed + 1))
    value, gradient = BOTH(logits, target)
    shifted = BOTH(logits + jnp.float32(a), target + jnp.float32(b))
    np.testing.assert_allclose(shifted[0], value, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(shifted[1], gradient, rtol=1e-4, atol=1e-4)
    assert (value > 0).all()
    np.testing.assert_allclose(gradient.sum(-1), 0.0, atol=1e-5)
    same = BOTH(logits, logits + jnp.float32(b))
    for x in same:
        np.testing.assert_allclose(x, 0.0, atol=1e-4)


def test_far_apart_distributions_stay_finite():
    logits, target = jnp.array([0.0, 0.0]), jnp.array([0.0, -1e4])
    value, gradient = jax.value_and_grad(kl_divergence)(logits, target)
    assert value == pytest.approx(5e3 - np.log(2), rel=1e-5)
    second = jax.grad(lambda z: kl_gradient(z, target)[0])(logits)
    assert np.isfinite(gradient).all() and np.isfinite(second).all()
