"""What a rule answers on made-up trajectories, against a NumPy loop."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lpg.learner import FrozenRule
from lpg.rules.lpg import LPG, LPGTargets
from metatest.probe import targets as probe_targets

RULE = LPG(hidden_size=6, prediction_size=5, embedding_size=3)


def noisy(rule):
    """Parameters with noise everywhere, so that no bias is zero."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(rule.init, jax.random.key(0))
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), shapes)


@pytest.fixture(scope="module")
def probed():
    return FrozenRule(RULE, noisy(RULE))


def numpy_pi_hat(params, reward, prob, goes_on):
    """[T] of one row between states of uniform y, from the equations of an LSTM."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    hidden = np.maximum(p["phi"]["hidden"]["kernel"].mean(axis=0) + p["phi"]["hidden"]["bias"], 0)
    phi = (hidden @ p["phi"]["out"]["kernel"] + p["phi"]["out"]["bias"])[0]
    size = p["lstm"]["wh"].shape[0]
    h, c, pi_hat = np.zeros(size), np.zeros(size), np.zeros(len(reward))
    for t in reversed(range(len(reward))):
        h, c = h * goes_on[t], c * goes_on[t]
        x = np.array([reward[t], goes_on[t], 0.995, prob[t], phi, phi * goes_on[t]])
        z = x @ p["lstm"]["wx"] + h @ p["lstm"]["wh"] + p["lstm"]["b"]
        i, f, g, o = np.split(z, 4)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        pi_hat[t] = (np.maximum(h, 0) @ p["pi_hat"]["kernel"] + p["pi_hat"]["bias"])[0]
    return pi_hat


def test_drift_is_that_of_a_numpy_rule(probed):
    found = probe_targets.drift(probed)
    for p in (0.05, 0.5, 0.7, 0.98):
        first = {
            q: numpy_pi_hat(
                probed.rule_params, np.zeros(20), np.array([q] + [0.5] * 19), np.ones(20)
            )[0]
            for q in (p, 1 - p)
        }
        expected = p * (1 - p) * (first[p] - first[1 - p])
        assert abs(expected) > 1e-5 or p == 0.5
        np.testing.assert_allclose(found.at(p), expected, atol=2e-6)
        index = int(np.argmin(np.abs(found.p - p)))
        np.testing.assert_allclose(found.pi_hat[index], first[p], atol=1e-5)


def test_responses_are_those_of_a_numpy_rule(probed):
    """Step 10 of 20 with a reward of -1, ended; and the credit of a last reward of 1."""
    found = probe_targets.responses(probed)
    half, on = np.full(20, 0.5), np.ones(20)
    at_ten, at_last = np.zeros(20), np.zeros(20)
    at_ten[10], at_last[19] = 1.0, 1.0
    ended = numpy_pi_hat(probed.rule_params, -at_ten, half, on - at_ten)[10]
    np.testing.assert_allclose(found.reward[1, 0], ended, atol=1e-5)
    certain = numpy_pi_hat(probed.rule_params, at_ten, half + 0.49 * at_ten, on)[10]
    np.testing.assert_allclose(found.probability[2, -1], certain, atol=1e-5)
    credit = numpy_pi_hat(probed.rule_params, at_last, half, on)
    credit = credit - numpy_pi_hat(probed.rule_params, 0 * on, half, on)
    np.testing.assert_allclose(found.credit[0], credit, atol=1e-5)
    # A reward of 1 between values of 0 is k steps back worth (gamma lambda)^k.
    np.testing.assert_allclose(found.gae, (0.995 * 0.95) ** np.arange(19, -1, -1), rtol=1e-5)
    np.testing.assert_allclose(found.y_hat_next_y.sum(axis=1), 1.0, rtol=1e-5)
    assert np.ptp(found.next_y) > 1e-3 and np.ptp(found.own_y) > 1e-3


@dataclass(frozen=True)
class Constant(LPG):
    def targets(self, rule_params, inputs):
        logits = jnp.zeros((*inputs.reward.shape, self.prediction_size))
        return LPGTargets(rule_params + 0.0 * inputs.reward, logits)


def test_no_evidence_measures_the_size_of_pi_hat():
    rule = Constant(hidden_size=2, prediction_size=3, embedding_size=2)
    found = probe_targets.no_evidence(
        FrozenRule(rule, jnp.float32(-2.0)), jax.random.key(0), num_rows=4
    )
    assert found == (2.0, 2.0, 4)
