"""Quantile regression beside closed forms, rlax and the quantiles of a sample."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from lpg.losses.quantile import huber, midpoints, quantile_loss


def test_midpoints():
    np.testing.assert_allclose(midpoints(4), [0.125, 0.375, 0.625, 0.875])


@pytest.mark.parametrize("kappa", [0.5, 1.0])
def test_equals_rlax(kappa):
    rng = np.random.default_rng(0)
    quantiles, targets = (jnp.asarray(rng.normal(size=(6, 5)), jnp.float32) for _ in range(2))

    def theirs(quantile, target):
        return rlax.quantile_regression_loss(quantile, midpoints(5), target, kappa)

    got = jnp.sum(quantile_loss(quantiles, targets, kappa), axis=-1)
    np.testing.assert_allclose(got, jax.vmap(theirs)(quantiles, targets), rtol=1e-5)


def test_one_quantile_without_a_bend_is_a_quarter_of_the_square():
    value, target = jnp.array([[0.5], [3.0], [-2.0]]), jnp.array([[1.0], [-4.0], [-2.0]])
    got = quantile_loss(value, target, kappa=1e3)
    np.testing.assert_allclose(got, 0.25 * (target - value) ** 2)


def test_huber_is_smooth_at_the_bend():
    slope = jax.vmap(jax.grad(lambda e: huber(e, 1.5)))
    np.testing.assert_allclose(
        slope(jnp.array([-9.0, -1.5, 0.0, 1.0, 1.6])), [-1.5, -1.5, 0, 1, 1.5]
    )
    assert huber(jnp.array(1.5), 1.5) == pytest.approx(1.125)
    assert huber(jnp.array(3.5), 1.5) == pytest.approx(1.5 * 3.5 - 1.125)


def test_descent_finds_the_quantiles_of_a_sample():
    sample = jnp.asarray(np.random.default_rng(1).exponential(size=400), jnp.float32)
    slope = jax.grad(lambda z: jnp.sum(quantile_loss(z, sample, kappa=1e-3)) / 1e-3)
    start = jnp.zeros(8)
    found = jax.jit(lambda z: jax.lax.fori_loop(0, 3000, lambda _, z: z - 0.02 * slope(z), z))(
        start
    )
    expected = np.quantile(np.asarray(sample), np.asarray(midpoints(8)))
    np.testing.assert_allclose(found, expected, atol=0.05)
