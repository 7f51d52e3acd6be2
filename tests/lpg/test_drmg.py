"""DrMG and QR: quantiles' returns, the loss beside NumPy, and what turns off what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from online import B, T, body_of, hypers, trajectory

from lpg.learner import FrozenRule
from lpg.losses.returns import n_step_returns
from lpg.losses.vtrace import leaky_vtrace
from lpg.rule import off_policy_inputs
from lpg.rules.drmg import DrMG, QuantileMetaparameters

RULE = DrMG(num_quantiles=5, kappa=0.3)


def setting(rule=RULE):
    body = body_of(FrozenRule(rule, rule.reference))
    params = body.agent.init(jax.random.key(0), jnp.int32(0))
    data = trajectory(1)
    outputs = body.outputs(params, data.observation)
    return outputs, data, off_policy_inputs(outputs, data, hypers().gamma)


def test_quantiles_that_share_gamma_and_lambda_have_the_v_trace_of_their_mean():
    """By linearity; each of its own has another."""
    _, data, inputs = setting()
    eta = QuantileMetaparameters(gamma=0.9, lam=0.7, alpha=0.6)
    got = RULE.targets(eta, inputs)
    expected = leaky_vtrace(
        data.reward, 0.9 * inputs.not_done, inputs.value.mean(axis=-1), inputs.log_ratio[..., 0],
        0.7, 0.6,
    )  # fmt: skip
    np.testing.assert_allclose(
        got.returns.mean(axis=-1), expected.value_target, rtol=1e-4, atol=1e-5
    )
    own = RULE.targets(eta._replace(gamma=jnp.linspace(0.5, 0.99, 5)), inputs)
    for q, gamma in enumerate(np.linspace(0.5, 0.99, 5)):
        alone = leaky_vtrace(
            data.reward, gamma * inputs.not_done, inputs.value[..., q], inputs.log_ratio[..., 0],
            0.7, 0.6,
        )  # fmt: skip
        np.testing.assert_allclose(own.returns[..., q], alone.value_target, rtol=1e-4, atol=1e-5)


def test_the_printed_advantage_weighs_by_the_clipped_ratio_once_more():
    _, _, inputs = setting()
    got = RULE.targets(RULE.reference, inputs)
    exceeds = np.asarray(got.returns - inputs.value[:-1]).mean(axis=-1)
    clipped = np.minimum(1.0, np.exp(np.asarray(inputs.log_ratio[..., 0])))
    np.testing.assert_allclose(got.advantage, exceeds * clipped, rtol=1e-4, atol=1e-5)
    other = DrMG(num_quantiles=5, vtrace_advantage=True).targets(RULE.reference, inputs)
    assert not np.allclose(other.advantage, got.advantage)


def numpy_loss(outputs, data, targets):
    logits, values = (np.asarray(x, float) for x in (outputs.logits, outputs.value))
    total = 0.0
    for t in range(T):
        for b in range(B):
            log_pi = logits[t, b] - np.log(np.exp(logits[t, b]).sum())
            entropy = -np.sum(np.exp(log_pi) * log_pi)
            total -= targets.policy_cost[t, b] * targets.advantage[t, b] * log_pi[data.action[t, b]]
            total -= targets.entropy_cost[t, b] * entropy
            for q in range(5):
                each = []
                for sample in np.asarray(targets.returns[t, b], float):
                    u = sample - values[t, b, q]
                    bend = 0.5 * u**2 if abs(u) <= 0.3 else 0.3 * (abs(u) - 0.15)
                    each.append(abs((q + 0.5) / 5 - (u < 0)) * bend)
                total += targets.quantile_cost[t, b, q] * np.mean(each)
    return total


def test_loss_equals_numpy():
    outputs, data, inputs = setting()
    costs = jnp.array([0.1, 0.3, 0.2, 0.5, 0.4])
    eta = RULE.reference._replace(quantile_cost=costs, policy_cost=0.7, entropy_cost=0.2)
    targets = RULE.targets(eta, inputs)
    got = RULE.loss(outputs, data, targets, hypers())
    np.testing.assert_allclose(got, numpy_loss(outputs, data, targets), rtol=1e-4)


def test_without_its_weight_no_quantile_learns_and_the_policy_does():
    outputs, data, inputs = setting()
    targets = RULE.targets(RULE.reference._replace(quantile_cost=0.0), inputs)
    grads = jax.grad(lambda x: RULE.loss(x, data, targets, hypers()))(outputs)
    assert not np.asarray(grads.value).any() and np.abs(grads.logits[:-1]).max() > 1e-3


@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_n_step_returns_are_those_of_a_loop(n):
    rng = np.random.default_rng(0)
    reward, discount = rng.normal(size=(T, B)), 0.9 * (rng.random((T, B)) > 0.3)
    value = rng.normal(size=(T + 1, B))
    got = n_step_returns(*(jnp.asarray(x, jnp.float32) for x in (reward, discount, value)), n)
    for t in range(T):
        expected, weight = np.zeros(B), np.ones(B)
        for k in range(t, min(t + n, T)):
            expected, weight = expected + weight * reward[k], weight * discount[k]
        expected = expected + weight * value[min(t + n, T)]
        np.testing.assert_allclose(got[t], expected, rtol=1e-5, atol=1e-6)


def test_n_step_targets_do_not_correct_for_who_acted():
    rule = DrMG(num_quantiles=5, num_steps=2, live=("gamma",))
    _, _, inputs = setting(rule)
    far = inputs._replace(log_ratio=inputs.log_ratio + 1.0)
    first, second = (rule.targets(rule.reference, x).returns for x in (inputs, far))
    np.testing.assert_array_equal(first, second)
