"""What is read off an agent's output vector, against SciPy and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from lpg.agent import Body
from lpg.agents.table import TableAgent
from lpg.heads import Heads, action_log_prob, entropy, mask_logits, split_heads

A = 5


def logits(seed, *shape, scale=3.0):
    return jnp.asarray(scale * np.random.default_rng(seed).normal(size=(*shape, A)), jnp.float32)


@pytest.mark.parametrize(
    "heads", [Heads(3), Heads(3, prediction=4), Heads(3, value=1), Heads(2, 4, 1)]
)
def test_heads_lie_side_by_side_and_fill_the_vector(heads):
    """Logits, prediction, value; whatever leads, and nothing twice or left out."""
    vector = jnp.arange(6 * heads.total).reshape(2, 3, heads.total)
    *parts, auxiliary = split_heads(heads, vector)
    assert [x.shape for x in parts] == [(2, 3, width) for width in heads[:3]]
    np.testing.assert_array_equal(np.concatenate(parts, axis=-1), vector)
    assert heads.total == sum(heads[:3]) and auxiliary == ()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 3.0, 40.0]))
def test_log_prob_of_an_action_is_scipys_at_its_index(seed, scale):
    x = logits(seed, 4, 3, scale=scale)
    action = np.random.default_rng(seed).integers(0, A, (4, 3))
    expected = special.log_softmax(np.asarray(x, np.float64), axis=-1)
    expected = np.take_along_axis(expected, action[..., None], axis=-1)[..., 0]
    found = action_log_prob(x, jnp.asarray(action, jnp.int32))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_gradient_of_a_log_prob_is_the_action_less_the_policy():
    x, action = logits(0, 7), jnp.arange(7, dtype=jnp.int32) % A
    found = jax.grad(lambda z: jnp.sum(action_log_prob(z, action)))(x)
    policy = special.softmax(np.asarray(x, np.float64), axis=-1)
    np.testing.assert_allclose(found, np.eye(A)[np.asarray(action)] - policy, atol=1e-6)


def test_a_masked_actions_log_prob_is_finite_and_pulls_on_nothing_it_should_not():
    """Padding may hold actions that the world lacks: 0 * log pi must stay 0, never NaN."""
    mask = jnp.array([True, True, False, True, False])

    def unearned(z):
        return jnp.sum(0.0 * action_log_prob(mask_logits(z, mask), jnp.full((2,), 2)))

    value, grad = jax.value_and_grad(unearned)(logits(1, 2))
    assert value == 0.0
    np.testing.assert_array_equal(grad, 0.0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 3.0, 40.0]))
def test_entropy_is_scipys_and_between_nothing_and_that_of_the_uniform(seed, scale):
    x = logits(seed, 6, scale=scale)
    found = np.asarray(entropy(x))
    expected = stats.entropy(special.softmax(np.asarray(x, np.float64), axis=-1), axis=-1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert (found >= 0).all() and (found <= np.log(A) + 1e-6).all()


def test_masked_entries_leave_entropy_as_if_they_were_not_there():
    x = logits(2, 6)
    mask = jnp.array([True, False, True, True, False])
    np.testing.assert_allclose(
        entropy(mask_logits(x, mask)), entropy(x[:, np.array([0, 2, 3])]), rtol=1e-5
    )
    alone = jnp.arange(A) == 3
    np.testing.assert_array_equal(entropy(mask_logits(x, alone)), 0.0)


def test_a_body_masks_what_its_agent_says_however_it_is_asked():
    heads = Heads(A, prediction=2, value=1)
    mask = jnp.array([True, False, True, True, False])
    body = Body(TableAgent(heads, num_states=3), mask)
    table = jnp.asarray(np.random.default_rng(3).normal(size=(3, heads.total)), jnp.float32)
    cells = jnp.array([[2, 0], [1, 2]])
    rows = np.asarray(table)[np.asarray(cells)]
    read, goes_on = body.read(table, cells)
    for outputs in (body.outputs(table, cells), body.acting(table)(cells), read):
        np.testing.assert_array_equal(
            outputs.logits, np.where(np.asarray(mask), rows[..., :A], np.float32(-1e9))
        )
        np.testing.assert_array_equal(outputs.prediction, rows[..., A : A + 2])
        np.testing.assert_array_equal(outputs.value, rows[..., A + 2 :])
    np.testing.assert_array_equal(goes_on, table)
