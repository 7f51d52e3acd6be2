"""V-trace and leaky V-trace beside rlax, NumPy, and the fixed point that theory gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from lpg.losses import vtrace
from lpg.losses.returns import lambda_returns

T, B = 7, 5
leaky_vtrace = jax.jit(vtrace.leaky_vtrace)


def draw(seed=0, spread=1.0):
    """Reward, discount with ends in it, value, log ratio."""
    rng = np.random.default_rng(seed)
    discount = 0.9 * (rng.random((T, B)) > 0.2)
    parts = rng.normal(size=(T, B)), discount, rng.normal(size=(T + 1, B))
    parts = (*parts, spread * rng.normal(size=(T, B)))
    return [jnp.asarray(x, jnp.float32) for x in parts]


def numpy_leaky(reward, discount, value, log_ratio, lam, alpha_rho, alpha_c, clip_rho, clip_c):
    """Forwards, by the sum of weighted errors that defines v_t."""
    ratio = np.exp(log_ratio)
    rho = alpha_rho * np.minimum(clip_rho, ratio) + (1 - alpha_rho) * ratio
    c = lam * (alpha_c * np.minimum(clip_c, ratio) + (1 - alpha_c) * ratio)
    target = np.array(value[:-1])
    for t in range(T):
        weight = np.ones(B)
        for k in range(t, T):
            error = reward[k] + discount[k] * value[k + 1] - value[k]
            target[t] += weight * rho[k] * error
            weight = weight * discount[k] * c[k]
    following = np.concatenate([target[1:], value[-1:]])
    mixed = lam * following + (1 - lam) * value[1:]
    return target, rho * (reward + discount * mixed - value[:-1])


@pytest.mark.parametrize("alphas", [(1.0, 1.0), (0.0, 0.0), (0.3, 0.8)])
@pytest.mark.parametrize(("lam", "clips"), [(1.0, (1.0, 1.0)), (0.7, (1.5, 0.6))])
def test_equals_the_sum_that_defines_it(alphas, lam, clips):
    drawn = draw()
    got = leaky_vtrace(*drawn, lam, *alphas, *clips)
    expected = numpy_leaky(*(np.asarray(x, float) for x in drawn), lam, *alphas, *clips)
    for x, y in zip(got, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("lam", [1.0, 0.8])
def test_equals_rlax(lam):
    reward, discount, value, log_ratio = draw(1)
    ratio = jnp.exp(log_ratio)
    got = leaky_vtrace(reward, discount, value, log_ratio, lam)

    def theirs(v, v_next, r, d, rho):
        return rlax.vtrace_td_error_and_advantage(v, v_next, r, d, rho, lam)

    expected = jax.vmap(theirs, 1, 1)(value[:-1], value[1:], reward, discount, ratio)
    np.testing.assert_allclose(got.value_target - value[:-1], expected.errors, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got.advantage, expected.pg_advantage, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_leaky_errors_equal_rlax(alpha):
    reward, discount, value, log_ratio = draw(2)

    def theirs(v, v_next, r, d, rho):
        return rlax.leaky_vtrace(v, v_next, r, d, rho, alpha)

    columns = value[:-1], value[1:], reward, discount, jnp.exp(log_ratio)
    expected = jax.vmap(theirs, 1, 1)(*columns)
    got = leaky_vtrace(reward, discount, value, log_ratio, 1.0, alpha)
    np.testing.assert_allclose(got.value_target - value[:-1], expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
def test_on_policy_alpha_does_not_matter_and_targets_are_lambda_returns(lam):
    reward, discount, value, _ = draw(3)
    expected = lambda_returns(reward, discount, value, lam)
    for alpha in (0.0, 0.5, 1.0):
        got = leaky_vtrace(reward, discount, value, jnp.zeros((T, B)), lam, alpha)
        np.testing.assert_allclose(got.value_target, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(got.advantage, expected - value[:-1], rtol=1e-5, atol=1e-5)


def test_nothing_after_an_end_changes_what_is_before_it():
    reward, discount, value, log_ratio = draw(4)
    discount = discount.at[3].set(0.0)
    before = leaky_vtrace(reward, discount, value, log_ratio, 0.9, 0.5)
    changed = reward.at[4:].add(1.0), discount, value.at[4:].add(1.0), log_ratio.at[4:].add(1.0)
    after = leaky_vtrace(*changed, 0.9, 0.5)
    for x, y in zip(before, after, strict=True):
        np.testing.assert_array_equal(x[:4], y[:4])
        assert not np.array_equal(x[4:], y[4:])


def test_gamma_and_lambda_are_learnable_and_alpha_only_where_something_is_clipped():
    reward, ends, value, log_ratio = draw(5)

    def total(gamma, lam, alpha, log_ratio):
        return jnp.sum(leaky_vtrace(reward, gamma * ends, value, log_ratio, lam, alpha)[0] ** 2)

    slopes = jax.jit(jax.grad(total, (0, 1, 2)))
    assert all(abs(x) > 1e-3 for x in slopes(0.9, 0.8, 0.7, log_ratio))
    gamma, lam, alpha = slopes(0.9, 0.8, 0.7, -jnp.abs(log_ratio))
    assert alpha == 0.0 and abs(gamma) > 1e-3 and abs(lam) > 1e-3


def random_mdp(rng, states=4, actions=3):
    """P [S, A, S], r [S, A], pi and mu [S, A]."""
    transition = rng.dirichlet(np.ones(states), (states, actions))
    return (
        transition,
        rng.normal(size=(states, actions)),
        *rng.dirichlet(np.ones(actions), (2, states)),
    )


def one_step(mdp, value, gamma, alpha, clip):
    """Expected one-step targets [S] under mu, by `leaky_vtrace` on every state and action."""
    transition, reward, pi, mu = mdp
    # The expected next value stands for the next state: the targets are linear in it.
    values = jnp.stack([jnp.broadcast_to(value[:, None], reward.shape).ravel(),
                        jnp.asarray(transition @ np.asarray(value)).ravel()])  # fmt: skip
    log_ratio = jnp.asarray(np.log(pi / mu)).ravel()[None]
    discount = jnp.full((1, reward.size), gamma)
    parts = jnp.asarray(reward).ravel()[None], discount, values, log_ratio
    target = leaky_vtrace(*parts, 1.0, alpha, None, clip, clip).value_target
    return jnp.sum(target.reshape(reward.shape) * mu, axis=1)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_fixed_point_is_the_value_of_the_leaky_policy_and_updates_contract(alpha):
    """Zahavy et al. 2020, Eq. 9 and theorem 1."""
    rng, gamma, clip = np.random.default_rng(6), 0.8, 0.7
    with jax.enable_x64(True):
        for _ in range(3):
            mdp = transition, reward, pi, mu = random_mdp(rng)
            leaky = alpha * np.minimum(clip * mu, pi) + (1 - alpha) * pi
            leaky /= leaky.sum(axis=1, keepdims=True)
            matrix = np.einsum("sa,sat->st", leaky, transition)
            own = np.linalg.solve(np.eye(4) - gamma * matrix, (leaky * reward).sum(axis=1))
            np.testing.assert_allclose(one_step(mdp, own, gamma, alpha, clip), own, atol=1e-10)
            # gamma here is that of the Eq. 9 bound: 1 - (1 - gamma)(alpha beta + 1 - alpha).
            beta = np.min(np.sum(mu * np.minimum(clip, pi / mu), axis=1))
            bound = 1 - (1 - gamma) * (alpha * beta + 1 - alpha)
            for _ in range(5):
                a, b = rng.normal(size=(2, 4))
                apart = one_step(mdp, a, gamma, alpha, clip) - one_step(mdp, b, gamma, alpha, clip)
                assert np.max(np.abs(apart)) <= bound * np.max(np.abs(a - b)) + 1e-12
