"""LPG-V against NumPy: its network, its value's target, its loss and what it bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import numpy_rule
import pytest

from lpg.heads import AgentOutputs, Heads
from lpg.rule import Hypers, RuleInputs, UpdateRule, penalties, push
from lpg.rules.lpg_v import LPGV, LPGVTargets
from lpg.trajectory import Trajectory

T, B, A = 5, 4, 3
RULE = LPGV(hidden_size=4, lam=0.7)
HYPERS = Hypers(jnp.float32(1.0), jnp.float32(0.3), jnp.float32(0.9))


def drawn(rng, *shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    return RuleInputs(
        reward=drawn(rng, T, B),
        not_done=jnp.asarray(rng.random((T, B)) < 0.7, jnp.float32),
        gamma=jnp.asarray(rng.uniform(0.8, 1, B), jnp.float32),
        action_prob=jnp.asarray(rng.random((T, B)), jnp.float32),
        prediction=jnp.zeros((T + 1, B, 0)),
        value=drawn(rng, T + 1, B, 1),
    )


TARGETS = jax.jit(RULE.targets)


def noisy_eta(seed):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(RULE.init, jax.random.key(0))
    return jax.tree.map(lambda x: drawn(rng, *x.shape), shapes)


def test_targets_equal_numpys():
    eta = noisy_eta(1)
    tensors = {
        ".".join(key.key for key in path): np.asarray(x, np.float64)
        for path, x in jax.tree_util.tree_leaves_with_path(eta)
    }
    arrays = {k: np.asarray(v, np.float64) for k, v in inputs()._asdict().items()}
    pi_hat, value_target = numpy_rule.targets(RULE.architecture(), tensors, arrays)
    found = TARGETS(eta, inputs())
    assert np.std(pi_hat) > 1e-2
    np.testing.assert_allclose(found.pi_hat, pi_hat, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.value_target, value_target, rtol=1e-4, atol=1e-5)


def test_what_the_value_should_be_is_no_choice_of_the_rules():
    one, other = TARGETS(noisy_eta(1), inputs()), TARGETS(noisy_eta(2), inputs())
    np.testing.assert_array_equal(one.value_target, other.value_target)
    assert np.abs(one.pi_hat - other.pi_hat).min() > 0


@jax.jit
def loss_and_gradient(outputs, trajectory, targets):
    return jax.value_and_grad(lambda o: RULE.loss(o, trajectory, targets, HYPERS))(outputs)


def setting(seed=0):
    rng = np.random.default_rng(seed)
    ends, observation = jnp.zeros((T, B), bool), jnp.zeros((T + 1, B), jnp.int32)
    action = jnp.asarray(rng.integers(0, A, (T, B)), jnp.int32)
    trajectory = Trajectory(observation, action, drawn(rng, T, B), ends, ends, jnp.zeros((T, B)))
    outputs = AgentOutputs(
        drawn(rng, T + 1, B, A), jnp.zeros((T + 1, B, 0)), drawn(rng, T + 1, B, 1)
    )
    return outputs, trajectory, LPGVTargets(drawn(rng, T, B), 3 * drawn(rng, T, B))


def test_loss_equals_numpy():
    """-log pi pi_hat, and alpha_y times e^2 / 2 up to an error of 1, then |e| - 1/2."""
    outputs, trajectory, targets = setting()
    logits, _, value = (np.asarray(x, np.float64) for x in outputs[:3])
    total, beyond = 0.0, 0
    for t in range(T):
        for b in range(B):
            log_pi = logits[t, b] - np.log(np.exp(logits[t, b]).sum())
            error = abs(value[t, b, 0] - float(targets.value_target[t, b]))
            beyond += error > 1
            total -= log_pi[trajectory.action[t, b]] * float(targets.pi_hat[t, b])
            total += 0.3 * (error**2 / 2 if error <= 1 else error - 0.5)
    assert 0 < beyond < T * B
    found, _ = loss_and_gradient(outputs, trajectory, targets)
    assert float(found) == pytest.approx(total / (T * B), rel=1e-5)


def test_no_error_pulls_harder_than_one_of_1():
    """So that a table at a learning rate of 80 does not diverge."""
    outputs, trajectory, targets = setting()
    error = jnp.asarray(np.linspace(-50, 50, T * B).reshape(T, B), jnp.float32)
    targets = targets._replace(value_target=outputs.value[:-1, :, 0] - error)
    _, grad = loss_and_gradient(outputs, trajectory, targets)
    expected = 0.3 * np.clip(error, -1, 1) / (T * B)
    np.testing.assert_allclose(grad.value[:-1, :, 0], expected, rtol=1e-4)
    np.testing.assert_array_equal(grad.value[-1], 0.0)
    np.testing.assert_array_equal(grad.logits[-1], 0.0)


def test_what_it_asks_of_agents_and_can_be_charged_for():
    assert isinstance(RULE, UpdateRule)
    assert RULE.heads(A) == Heads(logits=A, prediction=0, value=1)
    targets = setting()[2]
    (name,) = penalties(RULE, targets)
    expected = np.asarray(targets.pi_hat, np.float64) ** 2
    np.testing.assert_allclose(penalties(RULE, targets)[name], expected, rtol=1e-6)
    np.testing.assert_allclose(push(RULE, targets), expected, rtol=1e-6)
    for lam in (-0.1, 1.5):
        with pytest.raises(ValueError, match=f"lam must lie in .0, 1., got {lam}"):
            LPGV(lam=lam)
