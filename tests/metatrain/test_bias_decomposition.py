"""Roles of a meta-gradient, and what estimators owe to each other; float64 throughout."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.tabular_mdp import sample_mdp
from metatrain.bias.accuracy import Setting
from metatrain.bias.decomposition import CODES, meta_gradient, roles_of, update
from metatrain.bias.exact import (
    MEANINGS,
    Objective,
    exact_gradient,
    exact_meta_gradient,
    first_phi,
    outer_objective,
)
from metatrain.bias.sampled import (
    ESTIMATORS,
    Paths,
    Sampling,
    policy_gradient,
    sampled_gradient,
)

S, A, N = 4, 3, 6


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@lru_cache
def program(problem, num_updates, num_trajectories=N):
    """(key, phi, condition) to an estimate; one MDP."""
    mdp = sample_mdp(jax.random.key(3), S, A, concentration=0.3)
    sizes = {"num_updates": num_updates, "num_trajectories": num_trajectories}
    return mdp, jax.jit(partial(meta_gradient, meaning=MEANINGS[problem], mdp=mdp, **sizes))


def found(problem, num_updates, **setting):
    """The flat meta-gradient at a phi that is not flat."""
    mdp, estimate = program(problem, num_updates)
    phi = first_phi(problem, mdp)
    phi = phi + 0.3 * jnp.sin(jnp.arange(phi.size)).reshape(phi.shape)
    condition = Setting(problem=problem, inner_rate=2.0, **setting).condition
    return np.asarray(estimate(jax.random.key(4), phi=phi, condition=condition).meta_gradient)


@pytest.mark.slow
def test_all_exact_is_what_automatic_differentiation_gives():
    mdp, estimate = program("maml", 2)
    phi = first_phi("maml", mdp) + 0.1
    condition = Setting(roles="EEE", inner_rate=2.0).condition
    got = estimate(jax.random.key(5), phi=phi, condition=condition).meta_gradient
    true = jax.jit(lambda phi: exact_meta_gradient(MEANINGS["maml"], mdp, phi, 2, 2.0))(phi)
    assert np.abs(true).max() > 1e-3
    np.testing.assert_allclose(got, true, rtol=1e-12, atol=1e-14)


def test_an_update_has_its_value_from_one_role_and_its_derivative_from_the_other():
    """Of quadratics that stand for the two estimates, told apart by the role's answer."""
    theta = jnp.asarray(np.random.default_rng(0).normal(size=(S, A)))
    objective = Objective(jnp.ones((S, A)), jnp.asarray(0.8), jnp.asarray(1.0))

    def gradient(key, theta, objective, is_sampled, again=False):
        return jnp.where(is_sampled, 3.0 * theta**2, jnp.cos(theta) * objective.reward)

    def moved(theta, objective, code):
        condition = Setting(roles=code, inner_rate=0.5).condition
        return update(jax.random.key(0), theta, objective, gradient, condition)

    np.testing.assert_allclose(moved(theta, objective, "SEE"), theta + 1.5 * theta**2, rtol=1e-14)
    slope = jax.jacobian(moved)(theta, objective, "SEE").reshape(S * A, S * A)
    np.testing.assert_allclose(slope, np.diag(1 - 0.5 * np.sin(theta).ravel()), atol=1e-14)
    paid = jax.jacobian(moved, argnums=1)(theta, objective, "SEE").reward.reshape(S * A, S * A)
    np.testing.assert_allclose(paid, np.diag(0.5 * np.cos(theta).ravel()), atol=1e-14)
    np.testing.assert_allclose(
        moved(theta, objective, "ESE"), theta + 0.5 * np.cos(theta), rtol=1e-14
    )
    slope = jax.jacobian(moved)(theta, objective, "ESE").reshape(S * A, S * A)
    np.testing.assert_allclose(slope, np.diag(1 + 3 * np.asarray(theta).ravel()), atol=1e-14)


def test_an_injected_error_is_in_the_derivative_alone():
    theta = jnp.ones((S, A))
    objective = Objective(jnp.ones((S, A)), jnp.asarray(0.8), jnp.asarray(1.0))

    def gradient(key, theta, objective, is_sampled, again=False):
        return jnp.zeros_like(theta)

    def moved(theta, offset):
        condition = Setting(roles="EEE", inner_rate=6.0, hessian_offset=offset).condition
        return update(jax.random.key(0), theta, objective, gradient, condition)

    np.testing.assert_array_equal(moved(theta, 2.0), theta)
    slope = jax.jacobian(moved)(theta, 2.0).reshape(S * A, S * A)
    np.testing.assert_allclose(slope, 3.0 * np.eye(S * A), rtol=1e-14)  # 1 + 6 * 2 * 2 / 12
    none = jax.jacobian(moved)(theta, 0.0).reshape(S * A, S * A)
    np.testing.assert_allclose(none, np.eye(S * A), rtol=1e-14)


def test_estimators_that_share_their_first_derivative_differ_in_the_hessian_role_alone():
    for code in CODES:
        by = {e: found("maml", 2, roles=code, estimator=e) for e in ESTIMATORS}
        alike = [np.allclose(by[e], by["autodiff"], rtol=1e-12, atol=1e-15) for e in by]
        sampled_hessian, any_sampled = code[1] == "S", code != "EEE"
        assert alike == [True] + 2 * [not sampled_hessian] + [not any_sampled, not sampled_hessian]


def test_estimates_of_sampled_roles_are_fresh_and_of_exact_ones_are_not():
    mdp, estimate = program("maml", 2)
    phi = first_phi("maml", mdp)
    for code in CODES:
        condition = Setting(roles=code, inner_rate=2.0).condition
        a, b = (estimate(jax.random.key(k), phi=phi, condition=condition) for k in (0, 1))
        assert np.array_equal(a.meta_gradient, b.meta_gradient) is (code == "EEE")
        assert np.array_equal(a.theta, b.theta) is (code[0] == "E")


def strays(inner_rate):
    """Mean squares of 40 sampled theta_1 and theta_2 less the exact ones."""
    mdp, estimate = program("maml", 2)
    phi = first_phi("maml", mdp)
    found, true = (
        [
            estimate(jax.random.key(k), phi=phi, condition=setting.condition).theta
            for k in range(40)
        ]
        for setting in (
            Setting(inner_rate=inner_rate), Setting(inner_rate=inner_rate, roles="EEE")
        )
    )  # fmt: skip
    return np.mean((np.array(found) - np.array(true)) ** 2, axis=(0, 2, 3))[1:]


def test_parameters_stray_further_by_larger_steps_and_by_more_of_them():
    by_rate = np.array([strays(rate) for rate in (0.5, 1.0, 2.0)])
    np.testing.assert_allclose(by_rate[1:, 0], 4 * by_rate[:-1, 0], rtol=1e-6)  # the same gradient
    assert (by_rate[:, 1] > 1.5 * by_rate[:, 0]).all()
    assert (by_rate[1:, 1] > 3 * by_rate[:-1, 1]).all()


def test_parameters_stray_by_one_over_the_trajectories():
    mdp = sample_mdp(jax.random.key(3), S, A, concentration=0.3)
    theta = jnp.asarray(np.random.default_rng(0).normal(size=(S, A)))
    sampling = Sampling(jnp.int32(0), jnp.asarray(0.0))
    whole = MEANINGS["maml"](mdp, theta).inner
    true = np.asarray(exact_gradient(mdp, theta, whole))

    def stray(n):
        def of(key):
            return sampled_gradient(key, mdp, theta, whole, sampling, 20, n, again=False)

        keys = jax.random.split(jax.random.key(n), 1000)
        return np.mean((np.asarray(jax.jit(jax.vmap(of))(keys)) - true) ** 2)

    few, more, many = stray(2), stray(8), stray(32)
    np.testing.assert_allclose([few / more, more / many], 4, rtol=0.2)


def test_an_error_in_the_hessian_grows_with_its_offset():
    """Of the mean meta-gradient, everything else exact (spec/bias.md, section 4)."""
    true = found("maml", 2, roles="EEE")
    errors = [
        np.mean((found("maml", 2, roles="EEE", hessian_offset=h) - true) ** 2)
        for h in (0.0, 0.25, 0.5, 1.0)
    ]
    assert errors[0] == 0 and errors[1] > 0
    assert 3 < errors[2] / errors[1] < 5 and 3 < errors[3] / errors[2] < 5  # nearly its square


ALIKE = [ESTIMATORS.index(name) for name in ("autodiff", "lvc", "loaded_dice")]


@pytest.mark.parametrize("problem", ["lirpg", "mgrl"])
def test_at_one_update_autodiff_is_as_good_where_phi_does_not_move_the_policy(problem):
    """Of an update, on one set of trajectories, the whole Jacobian; MAML's is another."""
    mdp = sample_mdp(jax.random.key(3), S, A, concentration=0.3)
    theta = jnp.asarray(np.random.default_rng(0).normal(size=(S, A)))

    def gradient(estimator, phi, theta):
        sampling = Sampling(estimator, jnp.asarray(1.0))
        inner = MEANINGS[problem](mdp, phi).inner
        return sampled_gradient(jax.random.key(4), mdp, theta, inner, sampling, 5, N)

    slopes = jax.jit(jax.vmap(jax.jacfwd(gradient, argnums=(1, 2)), in_axes=(0, None, None)))
    by_phi, by_theta = slopes(jnp.array(ALIKE), first_phi(problem, mdp) + 0.3, theta)
    for other in (1, 2):
        np.testing.assert_allclose(by_phi[other], by_phi[0], atol=1e-12)
        assert np.abs(by_theta[other] - by_theta[0]).max() > 1e-2
    assert np.abs(by_phi[0]).max() > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["lirpg", "mgrl"])
def test_at_two_updates_they_part(problem):
    by = [found(problem, 2, roles="ESE", estimator=ESTIMATORS[i]) for i in ALIKE]
    gaps = np.abs(np.array([by[0] - by[1], by[0] - by[2], by[1] - by[2]])).max(axis=-1)
    assert np.abs(by[0]).max() > 1e-3 and gaps.min() > 1e-5


def test_a_row_of_a_softmax_does_not_feel_a_constant():
    for e in ESTIMATORS:
        maml = found("maml", 2, estimator=e)
        np.testing.assert_allclose(maml.sum(axis=-1), 0, atol=1e-12 * np.abs(maml).max())


@pytest.mark.slow
def test_advantages_do_not_feel_a_constant_on_all_rewards():
    for e in ESTIMATORS:
        if e != "dice":
            lirpg = found("lirpg", 2, estimator=e, value_noise=0.0)
            assert abs(lirpg.sum()) < 1e-11 * np.abs(lirpg).max()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_policy_gradient_is_the_loops(estimator):
    """sum_t gamma^t A_t grad log pi_t, A_t by its definition; DiCE's by rewards to come."""
    rng = np.random.default_rng(1)
    mdp = sample_mdp(jax.random.key(6), S, A, concentration=0.3)
    theta, value, lam, gamma = rng.normal(size=(S, A)), rng.normal(size=S), 0.9, 0.7
    state, action = rng.integers(S, size=(6, 2)), rng.integers(A, size=(5, 2))
    policy = np.exp(theta) / np.exp(theta).sum(-1, keepdims=True)
    expected = np.zeros((S, A))
    for n in range(2):
        for t in range(5):
            s, a = state[t, n], action[t, n]
            strength = 0.0
            for k in range(t, 5):
                paid = float(mdp.reward[state[k, n], action[k, n]])
                error = paid + gamma * value[state[k + 1, n]] - value[state[k, n]]
                each = gamma ** (k - t) * paid if estimator == "dice" else (
                    (gamma * lam) ** (k - t) * error
                )  # fmt: skip
                strength += each
            expected[s] += gamma**t * strength * (np.eye(A)[a] - policy[s]) / 2
    objective = Objective(mdp.reward, jnp.asarray(gamma), jnp.asarray(lam))
    paths = Paths(jnp.asarray(state), jnp.asarray(action))
    at = jnp.int32(ESTIMATORS.index(estimator))
    arguments = (at, jnp.asarray(theta), paths, jnp.asarray(value), objective)
    for again in (True, False):
        np.testing.assert_allclose(policy_gradient(*arguments, again), expected, atol=1e-14)


@pytest.mark.slow
def test_with_many_trajectories_composition_alone_is_exact_and_autodiff_forgets_the_hessian():
    """Without value noise: SEE's cosine to the truth, and AD's ESE to first-order MAML's."""
    mdp, estimate = program("maml", 1, 20_000)
    phi = first_phi("maml", mdp)

    def of(roles, estimator="autodiff"):
        setting = Setting(roles=roles, estimator=estimator, inner_rate=5.0, value_noise=0.0)
        got = estimate(jax.random.key(7), phi=phi, condition=setting.condition)
        return np.asarray(got.meta_gradient).ravel()

    def cosine(x, y):
        return x @ y / np.sqrt(x @ x * (y @ y))

    true = of("EEE")
    theta = phi + 5.0 * exact_gradient(mdp, phi, outer_objective(mdp))
    first_order = np.asarray(exact_gradient(mdp, theta, outer_objective(mdp))).ravel()
    assert cosine(first_order, true) < 0.99
    assert cosine(of("SEE"), true) > 0.999
    assert cosine(of("ESE"), first_order) > 0.999
    assert cosine(of("ESE", "loaded_dice"), true) > 0.999
    assert cosine(of("ESE", "score"), true) > 0.99


@pytest.mark.parametrize("code", ["", "SSX", "sss", "SSSS"])
def test_an_unknown_code_is_refused(code):
    with pytest.raises(ValueError, match=f"roles must be one of SSS, .*, got {code!r}"):
        roles_of(code)
