"""Random MDPs: what is drawn, exact values, and steps by the drawn probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.tabular_mdp import MDP, TabularMDP, sample_mdp, state_values


def test_transitions_are_distributions_and_nearly_deterministic():
    """Dirichlet(.001) in 20 states: the second largest of a hundred draws is rarely above .01."""
    mdp = jax.jit(sample_mdp)(jax.random.key(0))
    transition = np.asarray(mdp.transition)
    assert transition.shape == (20, 5, 20) and mdp.reward.shape == (20, 5)
    np.testing.assert_allclose(transition.sum(-1), 1, rtol=1e-5)
    assert (np.sort(transition, axis=-1)[..., -2] < 0.01).mean() > 0.9
    assert len(set(transition.argmax(-1).ravel())) == 20  # of 100 rows: each state missed by .006
    assert 0 <= mdp.reward.min() < 0.1 and 0.9 < mdp.reward.max() < 1
    other = jax.jit(sample_mdp)(jax.random.key(1))
    assert not np.allclose(other.transition, transition)


def test_a_flat_dirichlet_spreads():
    """Var of a share of Dirichlet(1) in 3: 1/18; of 3,000 rows the mean is within .005 (5 sd)."""
    transition = sample_mdp(jax.random.key(2), 3, 1000, concentration=1.0).transition
    np.testing.assert_allclose(transition.mean(axis=(0, 1)), 1 / 3, atol=0.0215)
    np.testing.assert_allclose(transition.var(axis=(0, 1)), 1 / 18, rtol=0.1)


def test_values_are_those_that_iteration_finds():
    with jax.enable_x64(True):
        mdp = sample_mdp(jax.random.key(3), 6, 3, concentration=1.0)
        policy = jax.nn.softmax(jax.random.normal(jax.random.key(4), (6, 3)))
        found = np.asarray(state_values(mdp, policy, 0.8))
    value = np.zeros(6)
    for _ in range(300):
        q = np.asarray(mdp.reward) + 0.8 * np.asarray(mdp.transition) @ value
        value = (np.asarray(policy) * q).sum(-1)
    np.testing.assert_allclose(found, value, rtol=1e-13)


def test_an_environment_steps_by_the_drawn_probabilities():
    """40,000 steps of each pair of 3 states and 2 actions: 5 sd of a frequency are below .0126."""
    env = TabularMDP(3, 2, concentration=1.0)
    params = env.sample_params(jax.random.key(5), env.default_params)

    def steps(state, action):
        _, start = env.reset(jax.random.key(0), params)
        start = start.replace(state=state)
        keys = jax.random.split(jax.random.key(6), 40_000)
        return jax.vmap(lambda key: env.step(key, start, action, params))(keys)

    steps = jax.jit(jax.vmap(jax.vmap(steps, in_axes=(None, 0)), in_axes=(0, None)))
    observation, state, reward, *ends, _ = steps(jnp.arange(3), jnp.arange(2))
    frequency = np.stack([(np.asarray(observation) == s).mean(-1) for s in range(3)], axis=-1)
    np.testing.assert_allclose(frequency, params.transition, atol=0.0126)
    assert np.ptp(params.transition, axis=-1).min() > 0.05
    np.testing.assert_array_equal(reward, np.repeat(params.reward[..., None], 40_000, axis=-1))
    np.testing.assert_array_equal(observation, state.state)
    assert not np.any(ends) and (state.time == 1).all()


def test_episodes_start_in_state_0_and_a_limit_cuts_them():
    env = TabularMDP()
    params = env.default_params
    observation, state = env.reset(jax.random.key(7), params)
    assert int(observation) == int(state.state) == 0
    assert env.num_states == 20 and env.num_actions == 5
    assert not env.is_truncated(state, params)
    late, limited = state.replace(time=jnp.int32(20)), params.replace(max_steps_in_episode=20)
    assert env.is_truncated(late, limited)
    assert TabularMDP() == env and hash(TabularMDP()) == hash(env) != hash(TabularMDP(3))
    assert TabularMDP(3) != env


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_values_by_hand(gamma):
    """Two states that go to each other and pay 1 and 0: V = 1 / (1 - gamma^2), gamma times it."""
    transition = jnp.array([[[0.0, 1.0]], [[1.0, 0.0]]])
    mdp = MDP(transition, jnp.array([[1.0], [0.0]]))
    first = 1 / (1 - gamma**2)
    found = state_values(mdp, jnp.ones((2, 1)), gamma)
    np.testing.assert_allclose(found, [first, gamma * first], rtol=1e-6)
