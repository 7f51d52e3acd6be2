"""Eq. 7 against NumPy, and what its gradient reaches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lpg.heads import AgentOutputs, Heads
from lpg.rule import Hypers
from lpg.rules.lpg import LPG, LPGTargets
from lpg.rules.lpg_eq7 import LPGWithBaseline
from lpg.trajectory import Trajectory

T, B, A, M = 4, 3, 5, 6
RULE = LPGWithBaseline(hidden_size=4, prediction_size=M, embedding_size=2)
HYPERS = Hypers(jnp.float32(1.0), jnp.float32(0.3), jnp.float32(0.9))


def setting():
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    action = jnp.asarray(rng.integers(0, A, (T, B)), jnp.int32)
    ends = jnp.zeros((T, B), bool)
    reward, acted = draw(T, B), jnp.full((T, B), -jnp.log(A))
    observation = jnp.zeros((T + 1, B), jnp.int32)
    trajectory = Trajectory(observation, action, reward, ends, ends, acted)
    outputs = AgentOutputs(draw(T + 1, B, A), draw(T + 1, B, M), draw(T + 1, B, 1))
    return outputs, trajectory, LPGTargets(draw(T, B), jax.nn.log_softmax(draw(T, B, M)))


def test_loss_equals_numpy():
    outputs, trajectory, targets = setting()
    got = RULE.loss(outputs, trajectory, targets, HYPERS)
    x = jax.tree.map(lambda a: np.asarray(a, np.float64), (outputs, targets))
    (logits, y, f, _), (pi_hat, log_y_hat, _) = x
    total = 0.0
    for t in range(T):
        for b in range(B):
            log_pi = logits[t, b] - np.log(np.exp(logits[t, b]).sum())
            p = np.exp(y[t, b]) / np.exp(y[t, b]).sum()
            total -= log_pi[trajectory.action[t, b]] * (pi_hat[t, b] - f[t, b, 0])
            total += 0.3 * np.sum(p * (np.log(p) - log_y_hat[t, b]))
            total += 0.5 * (f[t, b, 0] - pi_hat[t, b]) ** 2
    assert float(got) == pytest.approx(total / (T * B), rel=1e-5)


def test_baseline_learns_by_regression_alone():
    outputs, trajectory, targets = setting()
    grad = jax.grad(lambda o: RULE.loss(o, trajectory, targets, HYPERS))(outputs)
    error = (outputs.value[:-1, ..., 0] - targets.pi_hat) / (T * B)
    np.testing.assert_allclose(grad.value[:-1, ..., 0], error, rtol=1e-5)


def test_same_rule_with_one_more_head():
    plain = LPG(hidden_size=4, prediction_size=M, embedding_size=2)
    assert RULE.heads(A) == Heads(logits=A, prediction=M, value=1)
    assert RULE.architecture() == plain.architecture()
    for a, b in zip(
        jax.tree.leaves(RULE.init(jax.random.key(0))),
        jax.tree.leaves(plain.init(jax.random.key(0))),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
