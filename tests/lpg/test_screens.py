"""Convolutions of screens against flax's own, through all second derivatives, and their form."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lpg.agents.impala_resnet import ResNetAgent
from lpg.agents.nature_network import AtariAgent
from lpg.agents.screens import Conv
from lpg.heads import Heads
from lpg.platform import for_platform

# Board, kernel, strides, padding; of the second, strides leave a rest of rows and of columns.
GEOMETRIES = [
    ((12, 12), (8, 8), (4, 4), "VALID"),
    ((10, 9), (3, 4), (2, 3), "VALID"),
    ((7, 7), (3, 3), (1, 1), "SAME"),
    ((6, 5), (4, 2), (2, 1), "SAME"),
    ((5, 6), (3, 2), (2, 2), ((2, 0), (1, 3))),
]
FORM = "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("board, kernel, strides, padding", GEOMETRIES)
def test_values_and_derivatives_equal_those_of_flax(board, kernel, strides, padding):
    with jax.enable_x64(True):
        x = normal(1, 3, *board, 2)

        def all_of(layer):
            """Outputs, and what a gradient through a gradient step says of kernel and boards."""

            def loss(params, x):
                return jnp.mean(jnp.tanh(layer.apply(params, x)) ** 2)

            def moved(params, x):
                of_params, of_x = jax.grad(loss, (0, 1))(params, x)
                params = jax.tree.map(lambda p, g: p - g, params, of_params)
                return loss(params, x - of_x)

            params = layer.init(jax.random.key(0), x)
            params = jax.tree.map(lambda p: normal(p.ndim, *p.shape), params)
            return jax.jit(lambda p, x: (layer.apply(p, x), jax.grad(moved, (0, 1))(p, x)))(
                params, x
            )

        layers = (
            kind(4, kernel, strides, padding=padding, param_dtype=jnp.float64)
            for kind in (Conv, nn.Conv)
        )
        ours, theirs = map(all_of, layers)
        assert jax.tree.structure(ours) == jax.tree.structure(theirs)
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def lowered(agent):
    """A gradient through a gradient step in a loop."""
    params = jax.eval_shape(agent.init, jax.random.key(0), jnp.int32(0))
    screens = jnp.zeros((2, 4, 84, 84), jnp.uint8)

    def loss(params):
        return jnp.mean(agent.apply(params, screens) ** 2)

    def last(params):
        def step(params, _):
            return jax.tree.map(lambda p, g: p - g, params, jax.grad(loss)(params)), None

        return loss(jax.lax.scan(step, params, None, length=2)[0])

    return jax.jit(jax.grad(last)).lower(params).as_text()


@pytest.mark.parametrize("agent", [AtariAgent, ResNetAgent])
def test_on_a_cpu_all_have_the_form_that_is_fast_in_loops(agent):
    program = lowered(agent(Heads(logits=3, value=1)))
    forms = re.findall(r"dim_numbers = (\[.*?\]x\[.*?\]->\[.*?\])", program)
    assert len(forms) > 20 and set(forms) == {FORM}


def test_elsewhere_they_are_as_flax_has_them():
    x = jnp.zeros((2, 9, 9, 3))
    ours, theirs = (kind(4, (3, 3), (2, 2)) for kind in (Conv, nn.Conv))
    params = ours.init(jax.random.key(0), x)
    with for_platform("cuda"):
        programs = [str(jax.make_jaxpr(layer.apply)(params, x)) for layer in (ours, theirs)]
    assert programs[0] == programs[1]
