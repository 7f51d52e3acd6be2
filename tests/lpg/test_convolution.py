"""Convolutions of many lifetimes against `lax.conv` and its own derivatives, one at a time."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lpg.agents.convolution import Conv3x3, DenseOnBoards, convolve, correlate
from lpg.agents.network import NetworkAgent
from lpg.heads import Heads
from lpg.platform import for_platform

SIZES = [(1, 1, 1, 1, 1), (3, 5, 4, 2, 6), (2, 3, 7, 5, 3), (2, 11, 11, 4, 4)]  # n, h, w, c, f


@pytest.fixture(params=["cpu", "gpu"])
def backend(request):
    """The programs for either, both run here."""
    with for_platform(request.param):
        yield


def reference(kernel, x):
    dims = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=dims)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def weighted_sum(convolution):
    return lambda kernel, x, weight: jnp.sum(weight * convolution(kernel, x))


def through_an_update(convolution):
    """A loss after a gradient step, of which a gradient takes all second derivatives."""

    def loss(kernel, x, weight):
        return jnp.mean(weight * jnp.tanh(convolution(kernel, x)))

    def moved(kernel, x, weight):
        by_kernel, by_x = jax.grad(loss, (0, 1))(kernel, x, weight)
        return loss(kernel - by_kernel, x - by_x, weight)

    return moved


@pytest.mark.parametrize("sizes", SIZES)
def test_values_and_derivatives_equal_those_of_lax(backend, sizes):
    n, h, w, c, f = sizes
    with jax.enable_x64(True):
        kernel, x, weight = normal(0, 3, 3, c, f), normal(1, n, h, w, c), normal(2, n, h, w, f)
        np.testing.assert_allclose(convolve(kernel, x), reference(kernel, x), atol=1e-12)
        by_kernel = jax.vjp(lambda k: reference(k, x), kernel)[1](weight)[0]
        np.testing.assert_allclose(correlate(x, weight), by_kernel, atol=1e-12)

        def derivatives(convolution):
            losses = weighted_sum(convolution), through_an_update(convolution)
            gradients = [jax.grad(loss, (0, 1, 2)) for loss in losses]
            return jax.jit(lambda *args: [of(*args) for of in gradients])(kernel, x, weight)

        ours, theirs = (jax.tree.leaves(derivatives(by)) for by in (convolve, reference))
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_lifetimes_have_kernels_of_their_own(backend):
    """vmapped, first and second derivatives included, each as alone."""
    kernels, xs, weights = (
        normal(0, 4, 3, 3, 2, 5),
        normal(1, 4, 3, 6, 5, 2),
        normal(2, 4, 3, 6, 5, 5),
    )
    gradient = jax.grad(through_an_update(convolve), (0, 1))
    together = jax.jit(jax.vmap(gradient))(kernels, xs, weights)
    alone_of = jax.jit(jax.grad(through_an_update(reference), (0, 1)))
    for i in range(4):
        alone = alone_of(kernels[i], xs[i], weights[i])
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-3, atol=1e-5)


def test_one_input_for_many_kernels(backend):
    kernels, x = normal(0, 4, 3, 3, 2, 5), normal(1, 3, 6, 5, 2)
    together = jax.vmap(convolve, in_axes=(0, None))(kernels, x)
    for kernel, found in zip(kernels, together, strict=True):
        np.testing.assert_allclose(found, reference(kernel, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("features", [1, 3])
def test_layer_equals_flaxs(backend, features):
    """Values, gradients, and gradients through a step; on either side of the two channels."""
    x, bias, weight = normal(0, 3, 5, 4, 2), normal(1, features), normal(2, 3, 5, 4, features)
    kernel = normal(3, 18, features)
    flaxs = nn.Conv(features, kernel_size=(3, 3), padding="SAME")

    def by_flax(kernel, bias, x):
        kernel = kernel.reshape(3, 3, 2, features)
        return flaxs.apply({"params": {"kernel": kernel, "bias": bias}}, x)

    def ours(kernel, bias, x):
        return Conv3x3(features).apply({"params": {"kernel": kernel, "bias": bias}}, x)

    def through_a_step(layer):
        def loss(*args):
            return jnp.mean(weight * jnp.tanh(layer(*args)))

        def moved(*args):
            grads = jax.grad(loss, (0, 1, 2))(*args)
            return loss(*(a - g for a, g in zip(args, grads, strict=True)))

        return jax.jit(jax.grad(moved, (0, 1, 2)))

    args = kernel, bias, x
    np.testing.assert_allclose(ours(*args), by_flax(*args), rtol=1e-4, atol=1e-5)
    for a, b in zip(through_a_step(ours)(*args), through_a_step(by_flax)(*args), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_dense_layer_on_boards_is_flaxs_on_planes():
    x = normal(0, 3, 5, 4, 2)
    params = DenseOnBoards(7).init(jax.random.key(1), x)
    params["params"]["bias"] = normal(1, 7)
    planes = jnp.moveaxis(x, -1, 1).reshape(3, -1)
    expected = nn.Dense(7).apply(params, planes)
    np.testing.assert_allclose(DenseOnBoards(7).apply(params, x), expected, rtol=1e-4, atol=1e-5)


HEADS = Heads(logits=3, prediction=4)
BOARDS = jnp.asarray(np.random.default_rng(0).integers(0, 2, (6, 2, 7, 5)), jnp.uint8)


def agent_of(precision):
    return NetworkAgent(HEADS, (2, 7, 5), (6, 4, 4), (16, 5), precision)


def meta_gradient(agent, params):
    """By the target that a step is taken towards, of a loss after it."""
    target = normal(1, len(BOARDS), HEADS.total)

    def loss(params, target):
        return jnp.mean((agent.apply(params, BOARDS) - target) ** 2)

    def after(target):
        grads = jax.grad(loss)(params, target)
        assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.dtype("float32")}
        moved = jax.tree.map(lambda p, g: p - 0.3 * g, params, grads)
        return loss(moved, jnp.zeros_like(target))

    return jax.jit(jax.grad(after))(target)


@pytest.mark.slow
def test_narrow_boards_keep_a_meta_gradients_direction():
    """bfloat16 rounds by 2^-9: a cosine of .9999 is an angle of .8 degrees."""
    wide, narrow = agent_of("float32"), agent_of("bfloat16")
    params = wide.init(jax.random.key(0), jnp.int32(0))
    expected = meta_gradient(wide, params)  # XLA's own convolution, in float32
    with for_platform("gpu"):
        np.testing.assert_allclose(meta_gradient(wide, params), expected, rtol=1e-3, atol=1e-7)
        found = meta_gradient(narrow, params)
    cosine = jnp.vdot(found, expected) / jnp.linalg.norm(found) / jnp.linalg.norm(expected)
    assert cosine > 0.9999
    assert jnp.max(jnp.abs(found - expected)) > 1e-7  # narrow indeed


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_acting_with_fixed_parameters_is_applying_them(backend, precision):
    agent = agent_of(precision)
    params = jax.tree.map(lambda p: p + 0.1, agent.init(jax.random.key(0), jnp.int32(0)))
    np.testing.assert_allclose(
        agent.acting(params)(BOARDS), agent.apply(params, BOARDS), rtol=1e-5, atol=1e-6
    )
