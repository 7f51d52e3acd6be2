"""The step of eta in closed form: clip, Adam, and meta-gradients that are not finite."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import TINY

from metatrain.meta_optimizer import meta_optimizer

CONFIG = replace(TINY, meta_learning_rate=0.25, meta_adam_epsilon=0.5, max_grad_norm=2.5)
ETA = {"a": jnp.array([1.0, -1.0]), "b": jnp.array(2.0)}
OPTIMIZER = meta_optimizer(CONFIG)
update = jax.jit(OPTIMIZER.update)


def gradient(*values):
    return {"a": jnp.array(values[:2], jnp.float32), "b": jnp.float32(values[2])}


def flat(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


@pytest.mark.parametrize(
    ("values", "clipped"),
    [((3.0, -4.0, 0.0), (1.5, -2.0, 0.0)), ((0.3, 0.4, 1.2), (0.3, 0.4, 1.2))],
)
def test_the_first_step_is_that_of_adam_on_the_clipped_gradient(values, clipped):
    """Its bias-corrected moments are g and g^2: the step is -alpha g / (|g| + epsilon)."""
    step, _ = update(gradient(*values), OPTIMIZER.init(ETA), ETA)
    g = np.array(clipped)
    np.testing.assert_allclose(flat(step), -0.25 * g / (np.abs(g) + 0.5), rtol=1e-5)


def test_gradients_that_are_not_finite_change_nothing_however_many_come():
    _, state = update(gradient(0.3, 0.4, 1.2), OPTIMIZER.init(ETA), ETA)
    kept = flat(state.inner_state)
    for i, bad in enumerate((np.nan, np.inf, -np.inf, np.nan, np.nan, np.nan, np.nan)):
        step, state = update(gradient(0.1, bad, 0.0), state, ETA)
        np.testing.assert_array_equal(flat(step), 0.0)
        np.testing.assert_array_equal(flat(state.inner_state), kept)
        assert int(state.notfinite_count) == i + 1
    step, state = update(gradient(0.3, 0.4, 1.2), state, ETA)
    assert int(state.notfinite_count) == 0
    assert (np.abs(flat(optax.apply_updates(ETA, step)) - flat(ETA)) > 1e-3).all()
