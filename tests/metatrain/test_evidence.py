"""The penalty on pi_hat where nothing was earned: what its rows hold, and whom it pushes."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from test_window import random_inputs
from tiny import TINY, unbounded

from metatrain.engine import Engine
from metatrain.evidence import without_evidence
from metatrain.inner_update import targets_with_and_without_evidence
from metatrain.window import window_loss


def test_rows_hold_no_reward_and_a_uniform_y_and_nothing_else_is_changed():
    inputs = random_inputs(jax.random.key(0), 3, 4)
    blank = without_evidence(inputs, 2)
    np.testing.assert_array_equal(blank.reward, np.zeros((3, 4, 2)))
    y = jax.nn.softmax(blank.prediction)
    np.testing.assert_allclose(y, np.full((3, 5, 2, 5), 1 / 5), rtol=1e-6)
    np.testing.assert_array_equal(blank.not_done, inputs.not_done[:, :, :2])
    np.testing.assert_array_equal(blank.action_prob, inputs.action_prob[:, :, :2])
    np.testing.assert_array_equal(blank.gamma, inputs.gamma[:, :2])


def test_they_change_no_other_row_and_carry_no_gradient_to_agents():
    eta = TINY.rule.init(jax.random.key(1))
    inputs = random_inputs(jax.random.key(2), 3, 4)
    config = replace(TINY, unearned_cost=0.5, unearned_rows=2)

    @partial(jax.jit, static_argnums=0)
    def targets(config, inputs):
        return targets_with_and_without_evidence(TINY.rule, config, eta, [inputs])

    alone, none = targets(replace(config, unearned_cost=0.0), inputs)
    assert none == [None]
    both, (blank,) = targets(config, inputs)
    np.testing.assert_allclose(both[0].pi_hat, alone[0].pi_hat, rtol=1e-5, atol=1e-6)
    assert blank.pi_hat.shape == (3, 4, 2)

    def penalty(action_prob):
        _, (blank,) = targets(config, inputs._replace(action_prob=action_prob))
        return jnp.sum(blank.pi_hat**2)

    assert float(penalty(inputs.action_prob)) > 0
    np.testing.assert_array_equal(jax.grad(penalty)(inputs.action_prob), 0.0)


def test_the_penalty_pushes_the_pi_hat_head_and_not_the_y_hat_head():
    config = replace(TINY, envs=("short",), lifetimes=2)
    engine = Engine(TINY.rule, config, devices=jax.devices()[:1])
    state = engine.init(jax.random.key(0))
    keys = (jax.random.split(jax.random.key(1), 2),)

    def square(eta):
        _, (_, reports) = window_loss(
            TINY.rule, config, engine.cohorts, eta, state.lifetimes, keys, unbounded(config, keys)
        )
        return jnp.mean(reports[0].loss.penalties["unearned"])

    value, push = jax.jit(jax.value_and_grad(square))(state.rule_params)
    assert float(value) > 1e-6
    assert np.linalg.norm(ravel_pytree(push["pi_hat"])[0]) > 1e-5
    np.testing.assert_array_equal(ravel_pytree(push["y_hat"])[0], 0.0)
