"""The LPG network against a NumPy loop, and what it may and may not look at."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lpg.files.storage import load_rule
from lpg.network.rule_network import LPGNetwork
from lpg.rule import RuleInputs
from lpg.rules.lpg import LPG

T, R, M = 7, 5, 6
RULE = LPG(hidden_size=8, prediction_size=M, embedding_size=4)
TARGETS = jax.jit(RULE.targets)


def random_inputs(seed=0, done_rate=0.3):
    rng = np.random.default_rng(seed)
    return RuleInputs(
        reward=jnp.asarray(rng.normal(size=(T, R)), jnp.float32),
        not_done=jnp.asarray(rng.random((T, R)) > done_rate, jnp.float32),
        gamma=jnp.asarray(rng.uniform(0.9, 1, R), jnp.float32),
        action_prob=jnp.asarray(rng.random((T, R)), jnp.float32),
        prediction=jnp.asarray(rng.normal(size=(T + 1, R, M)), jnp.float32),
        value=jnp.zeros((T + 1, R, 0)),
    )


@pytest.fixture(scope="module")
def params():
    # Noise everywhere, so that no bias is accidentally zero.
    eta = RULE.init(jax.random.key(0))
    leaves, tree = jax.tree.flatten(eta)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [x + 0.3 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, noisy)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def numpy_targets(params, inputs):
    """Row by row, step by step, from the equations of an LSTM."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    x = jax.tree.map(lambda a: np.asarray(a, np.float64), inputs)

    def phi(logits):
        hidden = np.maximum(
            softmax(logits) @ p["phi"]["hidden"]["kernel"] + p["phi"]["hidden"]["bias"], 0
        )
        return (hidden @ p["phi"]["out"]["kernel"] + p["phi"]["out"]["bias"])[0]

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    size = p["lstm"]["wh"].shape[0]
    pi_hat, y_hat = np.zeros((T, R)), np.zeros((T, R, M))
    for r in range(R):
        h, c = np.zeros(size), np.zeros(size)
        for t in reversed(range(T)):
            d = x.not_done[t, r]
            if d == 0:
                h, c = np.zeros(size), np.zeros(size)
            features = np.array([
                x.reward[t, r], d, x.gamma[r], x.action_prob[t, r],
                phi(x.prediction[t, r]), phi(x.prediction[t + 1, r]) if d else 0.0,
            ])  # fmt: skip
            z = features @ p["lstm"]["wx"] + h @ p["lstm"]["wh"] + p["lstm"]["b"]
            i, f, g, o = (z[k * size : (k + 1) * size] for k in range(4))
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            out = np.maximum(h, 0)
            pi_hat[t, r] = (out @ p["pi_hat"]["kernel"] + p["pi_hat"]["bias"])[0]
            y_hat[t, r] = softmax(out @ p["y_hat"]["kernel"] + p["y_hat"]["bias"])
    return pi_hat, y_hat


def test_published_size_has_277792_parameters():
    shapes = jax.eval_shape(LPG().init, jax.random.key(0))
    assert sum(x.size for x in jax.tree.leaves(shapes)) == 277_792


def test_forget_gate_starts_open():
    bias = np.asarray(RULE.init(jax.random.key(0))["lstm"]["b"])
    np.testing.assert_array_equal(bias, np.repeat([0.0, 1.0, 0.0, 0.0], 8))


def test_equals_numpy_loop(params):
    inputs = random_inputs()
    assert 0 < np.asarray(inputs.not_done).mean() < 1
    targets = TARGETS(params, inputs)
    pi_hat, y_hat = numpy_targets(params, inputs)
    np.testing.assert_allclose(targets.pi_hat, pi_hat, atol=2e-5)
    np.testing.assert_allclose(targets.y_hat, y_hat, atol=2e-5)


def changed_after(inputs, t):
    """The same inputs with everything after step t drawn anew (y of s_{t+1} included)."""
    other = random_inputs(seed=9)
    keep = np.arange(T)[:, None] <= t
    keep_y = np.arange(T + 1)[:, None, None] <= t
    return inputs._replace(
        reward=jnp.where(keep, inputs.reward, other.reward),
        not_done=jnp.where(keep, inputs.not_done, other.not_done),
        action_prob=jnp.where(keep, inputs.action_prob, other.action_prob),
        prediction=jnp.where(keep_y, inputs.prediction, other.prediction),
    )


def test_nothing_after_a_terminal_step_reaches_back(params):
    inputs = random_inputs(done_rate=0.0)
    inputs = inputs._replace(not_done=inputs.not_done.at[3].set(0.0))
    a, b = TARGETS(params, inputs), TARGETS(params, changed_after(inputs, 3))
    np.testing.assert_array_equal(a.pi_hat[:4], b.pi_hat[:4])
    np.testing.assert_array_equal(a.y_hat[:4], b.y_hat[:4])
    assert not np.allclose(a.pi_hat[4:], b.pi_hat[4:])
    # Without the terminal step the change does reach back.
    alive = inputs._replace(not_done=jnp.ones_like(inputs.not_done))
    other = changed_after(alive, 3)._replace(not_done=alive.not_done)
    moved = TARGETS(params, alive).pi_hat[:4] - TARGETS(params, other).pi_hat[:4]
    assert np.abs(np.asarray(moved)).max() > 1e-4


def test_outputs_depend_on_the_future_only(params):
    inputs = random_inputs(done_rate=0.0)
    past = inputs._replace(
        reward=inputs.reward.at[:3].add(1.0),
        action_prob=inputs.action_prob.at[:3].set(0.5),
        prediction=inputs.prediction.at[:3].add(jnp.arange(M, dtype=jnp.float32)[None, None]),
    )
    a, b = TARGETS(params, inputs), TARGETS(params, past)
    np.testing.assert_array_equal(a.pi_hat[3:], b.pi_hat[3:])
    assert not np.allclose(a.pi_hat[:3], b.pi_hat[:3])


def test_shipped_rule_loads_by_name_and_uses_its_inputs():
    file = load_rule("lpg-tabular")
    rule = LPG.from_architecture(file.architecture)
    eta = jax.tree.map(jnp.asarray, file.params)
    expected = jax.tree.map(lambda x: x.shape, jax.eval_shape(rule.init, jax.random.key(0)))
    assert jax.tree.map(lambda x: x.shape, eta) == expected
    inputs = random_inputs()._replace(prediction=jnp.zeros((T + 1, R, 30)))
    better = inputs._replace(reward=inputs.reward + 1.0)
    # It was discovered that more reward reinforces more.
    targets = jax.jit(rule.targets)
    assert np.mean(targets(eta, better).pi_hat - targets(eta, inputs).pi_hat) > 0


@pytest.mark.parametrize("program", ["rows", "fused"])
def test_the_network_is_the_same_by_every_rows_major_program(program):
    inputs = random_inputs(1)
    networks = [LPGNetwork(hidden_size=8, prediction_size=M, lstm=x) for x in ("scan", program)]
    params = networks[0].init(jax.random.key(0), inputs)
    a, b = (jax.jit(network.apply)(params, inputs) for network in networks)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
