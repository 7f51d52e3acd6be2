"""A2C against NumPy and rlax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from lpg.heads import AgentOutputs, Heads
from lpg.rule import Hypers, UpdateRule, rule_inputs
from lpg.rules.a2c import A2C, A2CTargets
from lpg.trajectory import Trajectory

T, B, ACTIONS = 5, 4, 3
RULE = A2C()
HYPERS = Hypers(jnp.float32(1.0), jnp.float32(0.5), jnp.float32(0.9))


def setting(seed=0):
    rng = np.random.default_rng(seed)
    trajectory = Trajectory(
        observation=jnp.zeros((T + 1, B), jnp.int32),
        action=jnp.asarray(rng.integers(0, ACTIONS, (T, B)), jnp.int32),
        reward=jnp.asarray(rng.normal(size=(T, B)), jnp.float32),
        terminated=jnp.asarray(rng.random((T, B)) < 0.2),
        truncated=jnp.asarray(rng.random((T, B)) < 0.2),
        behaviour_log_prob=jnp.full((T, B), -jnp.log(ACTIONS)),
    )
    outputs = AgentOutputs(
        logits=jnp.asarray(rng.normal(size=(T + 1, B, ACTIONS)), jnp.float32),
        prediction=jnp.zeros((T + 1, B, 0)),
        value=jnp.asarray(rng.normal(size=(T + 1, B, 1)), jnp.float32),
    )
    return trajectory, outputs


def test_targets_equal_rlax():
    trajectory, outputs = setting()
    targets = RULE.targets((), rule_inputs(outputs, trajectory, jnp.float32(0.9)))
    ended = np.asarray(trajectory.terminated) | np.asarray(trajectory.truncated)
    assert 0 < ended.mean() < 1
    value = outputs.value[..., 0]
    columns = jax.vmap(
        rlax.truncated_generalized_advantage_estimation, in_axes=(1, 1, None, 1), out_axes=1
    )
    discount = jnp.asarray(0.9 * (1 - ended), jnp.float32)
    expected = columns(trajectory.reward, discount, 0.95, value)
    np.testing.assert_allclose(targets.advantage, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(targets.value_target, expected + value[:-1], rtol=1e-4, atol=1e-5)


def test_a_time_limit_is_no_death():
    """Reward 1 and V = 10 everywhere: 1 where the environment ended, 1 + .9 x 10 at the limit."""
    trajectory, outputs = setting()
    outputs = outputs._replace(value=jnp.full((T + 1, B, 1), 10.0))
    trajectory = trajectory._replace(reward=jnp.ones((T, B)))
    for terminated, expected in ((True, 1.0), (False, 10.0)):
        end = jnp.full((T, B), terminated)
        cut = trajectory._replace(
            terminated=end, truncated=~end, final_value=jnp.where(end, 0.0, 10.0)
        )
        targets = RULE.targets((), rule_inputs(outputs, cut, jnp.float32(0.9)))
        np.testing.assert_allclose(targets.value_target, expected, rtol=1e-6)


def test_a_limit_that_cuts_nothing_off_changes_nothing():
    """With lambda = 0, V of where the limit cut stands for all that follows."""
    trajectory, outputs = setting()
    value = outputs.value[1:, :, 0]
    rule, nothing = A2C(lam=0.0), jnp.zeros((T, B), bool)
    endless = trajectory._replace(terminated=nothing, truncated=nothing)
    cut = trajectory._replace(
        terminated=nothing, final_value=jnp.where(trajectory.truncated, value, 0.0)
    )
    one, other = (
        rule.targets((), rule_inputs(outputs, x, jnp.float32(0.9))) for x in (endless, cut)
    )
    np.testing.assert_allclose(one.value_target, other.value_target, rtol=1e-5)


def test_loss_equals_numpy():
    """mean[-log pi A + 0.5 * 0.5 (G - V)^2 - 0.01 H(pi)]."""
    trajectory, outputs = setting()
    rng = np.random.default_rng(7)
    advantage, target = rng.normal(size=(2, T, B)).astype(np.float32)
    got = RULE.loss(
        outputs, trajectory, A2CTargets(jnp.asarray(advantage), jnp.asarray(target)), HYPERS
    )
    logits = np.asarray(outputs.logits, np.float64)[:-1]
    pi = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    total = 0.0
    for t in range(T):
        for b in range(B):
            total -= np.log(pi[t, b, trajectory.action[t, b]]) * advantage[t, b]
            total += 0.25 * (target[t, b] - float(outputs.value[t, b, 0])) ** 2
            total += 0.01 * np.sum(pi[t, b] * np.log(pi[t, b]))
    assert float(got) == pytest.approx(total / (T * B), rel=1e-5)


def test_gradient_descent_on_the_loss_raises_entropy_value_and_good_actions():
    trajectory, outputs = setting()
    outputs = outputs._replace(value=jnp.zeros((T + 1, B, 1)))
    good = A2CTargets(jnp.ones((T, B)), jnp.ones((T, B)))
    grad = jax.grad(lambda o: RULE.loss(o, trajectory, good, HYPERS))(outputs)
    taken = np.take_along_axis(grad.logits[:-1], trajectory.action[..., None], axis=-1)
    assert (taken < 0).all() and (np.asarray(grad.value[:-1]) < 0).all()
    np.testing.assert_array_equal(grad.value[-1], 0.0)
    neutral = A2CTargets(jnp.zeros((T, B)), jnp.zeros((T, B)))
    grad = jax.grad(lambda o: RULE.loss(o, trajectory, neutral, HYPERS))(outputs).logits[:-1]
    largest = np.argmax(outputs.logits[:-1], axis=-1)
    assert (np.take_along_axis(grad, largest[..., None], axis=-1) > 0).all()


def test_is_a_rule_without_parameters():
    assert isinstance(RULE, UpdateRule)
    assert jax.tree.leaves(RULE.init(jax.random.key(0))) == []
    assert RULE.heads(4) == Heads(logits=4, prediction=0, value=1)
    with pytest.raises(ValueError, match="lam"):
        A2C(lam=1.5)
