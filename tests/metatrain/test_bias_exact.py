"""Exact meta-gradients against differences of a NumPy learner that climbs by the policy gradient
theorem."""

import jax
import numpy as np
import pytest

from envs.tabular_mdp import sample_mdp
from metatrain.bias.exact import (
    GAMMA,
    MEANINGS,
    exact_meta_gradient,
    expected_return,
    outer_objective,
)

S, A, RATE, K = 4, 3, 2.0, 2


def policy_of(theta):
    exp = np.exp(theta - theta.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def values(transition, reward, theta, gamma):
    policy = policy_of(theta)
    moving = np.einsum("sa,sat->st", policy, transition)
    value = np.linalg.inv(np.eye(S) - gamma * moving) @ (policy * reward).sum(-1)
    return value, moving, policy


def gradient(transition, reward, theta, gamma):
    """Of V(s_0): discounted visits, times pi (Q - V) (Sutton et al. 2000)."""
    value, moving, policy = values(transition, reward, theta, gamma)
    visits = np.linalg.inv(np.eye(S) - gamma * moving)[0]
    return visits[:, None] * policy * (reward + gamma * transition @ value - value[:, None])


def learned(problem, mdp, phi):
    """V(s_0) after K updates, by NumPy."""
    transition, reward = (np.asarray(x) for x in mdp)
    theta, inner, gamma = np.zeros((S, A)), reward, GAMMA
    if problem == "maml":
        theta = phi
    elif problem == "lirpg":
        inner = reward + phi
    else:
        gamma = 1 / (1 + np.exp(-phi[0]))
    for _ in range(K):
        theta = theta + RATE * gradient(transition, inner, theta, gamma)
    return values(transition, reward, theta, GAMMA)[0][0]


@pytest.mark.parametrize("problem", MEANINGS)
def test_meta_gradients_equal_differences(problem):
    rng = np.random.default_rng(0)
    phi = rng.normal(size=2 if problem == "mgrl" else (S, A)) * 0.5
    with jax.enable_x64(True):
        mdp = sample_mdp(jax.random.key(1), S, A, concentration=0.5)

        def of_phi(phi):
            return exact_meta_gradient(MEANINGS[problem], mdp, phi, K, RATE)

        found = np.asarray(jax.jit(of_phi)(phi))
    differences = np.zeros_like(phi)
    for i in np.ndindex(phi.shape):
        step = np.zeros_like(phi)
        step[i] = 1e-5
        ends = (learned(problem, mdp, phi + step), learned(problem, mdp, phi - step))
        differences[i] = (ends[0] - ends[1]) / 2e-5
    assert np.abs(differences).max() > 1e-3
    np.testing.assert_allclose(found, differences, atol=1e-8)
    if problem == "mgrl":
        assert found[1] == 0


def test_the_returns_gradient_is_the_policy_gradient_theorems():
    with jax.enable_x64(True):
        mdp = sample_mdp(jax.random.key(2), S, A, concentration=0.5)
        theta = np.random.default_rng(1).normal(size=(S, A))
        found = jax.grad(lambda theta: expected_return(mdp, theta, outer_objective(mdp)))(theta)
    transition, reward = (np.asarray(x) for x in mdp)
    np.testing.assert_allclose(found, gradient(transition, reward, theta, GAMMA), atol=1e-13)
