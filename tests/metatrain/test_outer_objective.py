"""The outer objective: critic steps, advantages and Eq. 4 against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lpg.agents.make import make_agent
from lpg.heads import AgentOutputs, Heads
from lpg.trajectory import Trajectory
from metatrain.outer_objective import (
    AdvantageStats,
    Costs,
    CriticState,
    critic_step,
    init_advantage_stats,
    normalised_advantage,
    outer_advantage,
    outer_loss,
)

T, B, STATES, ACTIONS, M = 5, 4, 6, 3, 5
HEADS = Heads(logits=0, value=1)
GAMMA, LAM = np.float32(0.9), 0.95


def setting(seed=0, features=0):
    rng = np.random.default_rng(seed)
    observation = rng.integers(0, STATES - 1, (T + 1, B)).astype(np.int32)
    observation[-1] = STATES - 1  # seen as a bootstrap observation only
    if features:
        observation = rng.normal(size=(T + 1, B, features)).astype(np.float32)
    trajectory = Trajectory(
        observation=jnp.asarray(observation),
        action=jnp.asarray(rng.integers(0, ACTIONS, (T, B)), jnp.int32),
        reward=jnp.asarray(rng.normal(size=(T, B)), jnp.float32),
        terminated=jnp.asarray(rng.random((T, B)) < 0.2),
        truncated=jnp.asarray(rng.random((T, B)) < 0.2),
        behaviour_log_prob=jnp.full((T, B), -jnp.log(ACTIONS)),
    )
    cut = trajectory.truncated & ~trajectory.terminated
    final_value = jnp.where(cut, jnp.asarray(rng.normal(size=(T, B)), jnp.float32), 0.0)
    return trajectory._replace(final_value=final_value), rng


def numpy_lambda_returns(trajectory, value):
    """Nothing of the next episode enters; beyond a time limit is the value of where it cut."""
    reward = np.asarray(trajectory.reward, np.float64)
    ended = np.asarray(trajectory.terminated) | np.asarray(trajectory.truncated)
    assert np.asarray(trajectory.truncated).any()
    following, out = value[-1].astype(np.float64), np.zeros((T, B))
    for t in reversed(range(T)):
        mixed = (1 - LAM) * value[t + 1] + LAM * following
        beyond = np.where(trajectory.terminated[t], 0.0, trajectory.final_value[t])
        following = reward[t] + GAMMA * np.where(ended[t], beyond, mixed)
        out[t] = following
    return out


def test_table_critic_moves_visited_states_by_their_mean_error():
    trajectory, rng = setting()
    critic = make_agent("table", HEADS, num_states=STATES)
    table = rng.normal(size=(STATES, 1)).astype(np.float32)
    state = CriticState(jnp.asarray(table), optax.identity().init(()))
    after = critic_step(
        critic, optax.identity(), state, trajectory, jnp.float32(GAMMA), LAM, 0.3
    ).params
    observation = np.asarray(trajectory.observation)
    value = table[observation, 0]
    error = numpy_lambda_returns(trajectory, value) - value[:-1]
    expected = table[:, 0].astype(np.float64)
    for s in range(STATES):
        visits = error[observation[:-1] == s]
        if visits.size:
            expected[s] += 0.3 * visits.mean()
    np.testing.assert_allclose(after[:, 0], expected, rtol=1e-4, atol=1e-5)
    counts = np.bincount(observation[:-1].reshape(-1), minlength=STATES)
    assert counts.max() > 1 and counts[-1] == 0
    assert float(after[-1, 0]) == table[-1, 0]


def test_network_critic_takes_one_adam_step_towards_returns():
    """The gradient of half the mean squared error, its targets constants."""
    trajectory, _ = setting(features=3)
    critic = make_agent("D(4)", HEADS, observation_shape=(3,))
    params = critic.init(jax.random.key(0), jnp.int32(1))
    optimizer = optax.adam(1e-2)
    state = CriticState(params, optimizer.init(params))
    after = critic_step(critic, optimizer, state, trajectory, jnp.float32(GAMMA), LAM, 0.3)
    value = np.asarray(critic.apply(params, trajectory.observation))[..., 0]
    target = jnp.asarray(numpy_lambda_returns(trajectory, value), jnp.float32)

    def loss(p):
        return 0.5 * jnp.mean((critic.apply(p, trajectory.observation)[:-1, :, 0] - target) ** 2)

    updates, _ = optimizer.update(jax.grad(loss)(params), state.opt_state)
    expected = optax.apply_updates(params, updates)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5),
        after.params, expected,
    )  # fmt: skip


def test_critic_of_a_two_state_loop_learns_its_value():
    """Reward 1 in state 0, 0 in state 1, taking turns: V_0 = 1/(1 - gamma^2) = 5.263."""
    observation = (np.arange(T + 1)[:, None] + np.arange(B)[None]) % 2
    nothing = jnp.zeros((T, B), bool)
    trajectory = Trajectory(
        jnp.asarray(observation, jnp.int32), jnp.zeros((T, B), jnp.int32),
        jnp.asarray(1 - observation[:-1], jnp.float32), nothing, nothing, jnp.zeros((T, B)),
    )  # fmt: skip
    critic = make_agent("table", HEADS, num_states=2)
    step = jax.jit(
        lambda s: critic_step(critic, optax.identity(), s, trajectory, jnp.float32(GAMMA), LAM, 0.3)
    )
    state = CriticState(jnp.zeros((2, 1)), optax.identity().init(()))
    for _ in range(100):
        state = step(state)
    np.testing.assert_allclose(state.params[:, 0], [1 / 0.19, 0.9 / 0.19], rtol=1e-3)


def test_outer_advantage_is_gae_of_the_critic():
    trajectory, rng = setting()
    critic = make_agent("table", HEADS, num_states=STATES)
    table = rng.normal(size=(STATES, 1)).astype(np.float32)
    got = outer_advantage(critic, jnp.asarray(table), trajectory, jnp.float32(GAMMA), LAM)
    value = table[np.asarray(trajectory.observation), 0]
    expected = numpy_lambda_returns(trajectory, value) - value[:-1]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_advantage_normalisation_by_debiased_running_moments():
    rng = np.random.default_rng(0)
    stats, decay = init_advantage_stats(), 0.9
    batches = [rng.normal(2.0 * i, 1.0 + i, (T, B)).astype(np.float32) for i in range(4)]
    for i, batch in enumerate(batches):
        stats, normalised = normalised_advantage(stats, jnp.asarray(batch), decay)
        # Weights of an exponential average, made to sum to one.
        weights = np.array([decay ** (i - j) for j in range(i + 1)])
        weights /= weights.sum()
        mean = np.dot(weights, [b.mean() for b in batches[: i + 1]])
        square = np.dot(weights, [(b**2).mean() for b in batches[: i + 1]])
        expected = (batch - mean) / np.sqrt(square - mean**2)
        np.testing.assert_allclose(normalised, expected, rtol=1e-3, atol=1e-4)
        if i == 0:  # the first batch by its own moments
            assert abs(float(jnp.mean(normalised))) < 1e-5
            assert float(jnp.std(normalised)) == pytest.approx(1.0, abs=1e-3)


def test_no_advantage_stays_none():
    """Before the first reward a table critic gives zeros, whose deviation is zero too."""
    stats, normalised = normalised_advantage(init_advantage_stats(), jnp.zeros((T, B)), 0.99)
    np.testing.assert_array_equal(normalised, 0.0)
    assert all(np.isfinite(x) for x in stats)


COSTS = Costs(
    policy_entropy=jnp.float32(0.02),
    prediction_entropy=0.03,
    penalties={"pi_hat": 0.05, "y_hat": 0.07, "unearned": 0.11},
)


def random_outputs(rng, prediction=M):
    return AgentOutputs(
        logits=jnp.asarray(rng.normal(size=(T + 1, B, ACTIONS)), jnp.float32),
        prediction=jnp.asarray(rng.normal(size=(T + 1, B, prediction)), jnp.float32),
        value=jnp.zeros((T + 1, B, 0)),
    )


def loss_of(outputs, trajectory, advantage, squares=(0.4, 0.6, 0.8), **costs):
    charged = {name: jnp.float32(x) for name, x in zip(COSTS.penalties, squares, strict=True)}
    return outer_loss(outputs, trajectory, advantage, charged, COSTS._replace(**costs))


def numpy_entropy(logits):
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return -(p * np.log(p)).sum(-1)


def test_outer_loss_equals_equation_4():
    trajectory, rng = setting()
    outputs = random_outputs(rng)
    advantage = rng.normal(size=(T, B)).astype(np.float32)
    parts = loss_of(outputs, trajectory, jnp.asarray(advantage))
    logits, prediction = (np.asarray(x, np.float64)[:-1] for x in outputs[:2])
    log_pi = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    taken = np.take_along_axis(log_pi, np.asarray(trajectory.action)[..., None], -1)[..., 0]
    surrogate = np.mean(taken * advantage)
    pi_entropy, y_entropy = numpy_entropy(logits).mean(), numpy_entropy(prediction).mean()
    objective = surrogate + 0.02 * pi_entropy + 0.03 * y_entropy - 0.05 * 0.4 - 0.07 * 0.6
    objective -= 0.11 * 0.8
    assert float(parts.total) == pytest.approx(-objective, rel=1e-5)
    np.testing.assert_allclose(
        np.asarray(parts[1:4]), [-surrogate, pi_entropy, y_entropy], rtol=1e-5
    )
    assert parts.penalties == {"pi_hat": 0.4, "y_hat": 0.6, "unearned": 0.8}


def test_each_term_pulls_where_it_should():
    """Lower loss: likelier good actions, more entropy of both, smaller squares."""
    trajectory, rng = setting()
    outputs = random_outputs(rng)
    advantage = jnp.ones((T, B))
    base = float(loss_of(outputs, trajectory, advantage).total)
    flat = outputs._replace(prediction=0.5 * outputs.prediction)
    assert float(loss_of(flat, trajectory, advantage).total) < base
    taken = jax.nn.one_hot(trajectory.action, ACTIONS)
    likelier = outputs._replace(logits=outputs.logits.at[:-1].add(taken))
    assert float(loss_of(likelier, trajectory, advantage).total) < base
    no_advantage = jnp.zeros((T, B))
    flat = outputs._replace(logits=0.5 * outputs.logits)
    assert (
        loss_of(flat, trajectory, no_advantage).total
        < loss_of(outputs, trajectory, no_advantage).total
    )
    for squares in ((0.5, 0.6, 0.8), (0.4, 0.7, 0.8), (0.4, 0.6, 0.9)):
        assert float(loss_of(outputs, trajectory, advantage, squares).total) > base


def test_bootstrap_row_has_no_part():
    trajectory, rng = setting()
    outputs = random_outputs(rng)
    grad = jax.grad(lambda o: loss_of(o, trajectory, jnp.ones((T, B))).total)(outputs)
    np.testing.assert_array_equal(grad.logits[-1], 0.0)
    np.testing.assert_array_equal(grad.prediction[-1], 0.0)
    assert np.abs(grad.prediction[:-1]).min() > 0


def test_a_rule_without_predictions_has_no_prediction_entropy():
    trajectory, rng = setting()
    parts = loss_of(random_outputs(rng, prediction=0), trajectory, jnp.ones((T, B)))
    assert float(parts.prediction_entropy) == 0.0 and np.isfinite(parts.total)


def test_the_critic_is_a_constant():
    """It changes the loss's value through the advantage, and no gradient reaches it."""
    trajectory, rng = setting()
    outputs = random_outputs(rng)
    critic = make_agent("table", HEADS, num_states=STATES)
    table = jnp.asarray(rng.normal(size=(STATES, 1)), jnp.float32)

    def loss(table, stats):
        advantage = outer_advantage(critic, table, trajectory, jnp.float32(GAMMA), LAM)
        _, advantage = normalised_advantage(stats, advantage, 0.99)
        return loss_of(outputs, trajectory, advantage).total

    stats = AdvantageStats(jnp.float32(0.1), jnp.float32(0.5), jnp.float32(0.3))
    assert abs(float(loss(table, stats) - loss(jnp.zeros_like(table), stats))) > 1e-4
    grads = jax.grad(loss, argnums=(0, 1))(table, stats)
    for leaf in jax.tree.leaves(grads):
        np.testing.assert_array_equal(leaf, 0.0)
