"""Surrogates of the policy gradient: expectations over all trajectories of a small MDP, and each
sample's derivatives against loops."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lpg.losses.estimators import (
    autodiff,
    dice,
    dice_baseline,
    loaded_dice,
    lvc,
    score,
)

S, A, T, GAMMA = 3, 2, 3, 0.8
ALIKE = {
    "autodiff": autodiff, "lvc": lvc, "loaded_dice": loaded_dice,
    "faded": partial(loaded_dice, causal_discount=0.6),
}  # fmt: skip


class Enumerated:
    """Every trajectory of T steps from state 0, and V_t(s) of the policy by the Bellman equation;
    time first, as the estimators take it."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.transition = rng.dirichlet(np.ones(S), (S, A))
        self.reward = 4 * rng.random((S, A))
        self.theta = rng.normal(size=(S, A))
        steps = list(itertools.product(itertools.product(range(A), range(S)), repeat=T))
        self.action = np.array([[a for a, _ in x] for x in steps]).T
        later = np.array([[s for _, s in x] for x in steps]).T
        self.state = np.concatenate([np.zeros_like(later[:1]), later])
        odds = self.transition[self.state[:-1], self.action, self.state[1:]]
        self.environment = odds.prod(axis=0)
        self.earned = self.reward[self.state[:-1], self.action]
        self.not_done = jnp.ones((T, len(steps)))
        self.discount = GAMMA ** np.arange(T)[:, None]
        policy = np.exp(self.theta) / np.exp(self.theta).sum(-1, keepdims=True)
        self.value = np.zeros((T + 1, S))
        for t in reversed(range(T)):
            q = self.reward + GAMMA * self.transition @ self.value[t + 1]
            self.value[t] = (policy * q).sum(-1)
        self.policy = policy
        self.odds = self.environment * policy[self.state[:-1], self.action].prod(axis=0)

    def log_prob(self, theta):
        return jax.nn.log_softmax(theta)[self.state[:-1], self.action]

    def advantage(self, value):
        """What is still earned up to the end, minus `value` [T, S] there."""
        ahead = np.zeros_like(self.earned)
        for t in range(T):
            for k in range(t, T):
                ahead[t] += GAMMA ** (k - t) * self.earned[k]
        return ahead - np.take_along_axis(value[:T], self.state[:-1], axis=1)

    def expected(self, strength, weight):
        """The surrogate's mean, as trajectories that are drawn at `self.theta` have it."""

        def surrogate(theta):
            each = jnp.sum(strength * weight(self.log_prob(theta), self.not_done), axis=0)
            return jnp.sum(self.odds * each)

        return surrogate

    def true_value(self, theta):
        """V_0(s_0) by the Bellman equation."""
        policy, value = jax.nn.softmax(theta), jnp.zeros(S)
        for _ in range(T):
            value = jnp.sum(policy * (self.reward + GAMMA * self.transition @ value), axis=-1)
        return value[0]

    def scores(self):
        """grad log pi_t of each trajectory: [T, N, S, A], in closed form."""
        found = np.zeros((*self.action.shape, S, A))
        for t, n in np.ndindex(*self.action.shape):
            s, a = self.state[t, n], self.action[t, n]
            found[t, n, s] = np.eye(A)[a] - self.policy[s]
        return found


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def mdp():
    return Enumerated()


def derivatives(function, theta):
    gradient, hessian = jax.jit(lambda x: (jax.grad(function)(x), jax.hessian(function)(x)))(theta)
    return np.asarray(gradient), np.asarray(hessian)


def test_the_trajectories_are_all_there_are(mdp):
    assert mdp.state.shape == (T + 1, (A * S) ** T)
    assert mdp.odds.sum() == pytest.approx(1, abs=1e-14)
    earned = (mdp.odds * (mdp.discount * mdp.earned).sum(0)).sum()
    assert earned == pytest.approx(float(mdp.true_value(mdp.theta)), abs=1e-14)


@pytest.mark.parametrize("name", ALIKE)
def test_the_first_derivative_is_the_returns(mdp, name):
    strength = mdp.discount * mdp.advantage(mdp.value)
    found = jax.jit(jax.grad(mdp.expected(strength, ALIKE[name])))(mdp.theta)
    true = jax.jit(jax.grad(mdp.true_value))(mdp.theta)
    assert np.abs(true).max() > 0.05
    np.testing.assert_allclose(found, true, atol=1e-14)


def test_loaded_dice_has_the_second_derivative_of_the_return(mdp):
    strength = mdp.discount * mdp.advantage(mdp.value)
    _, found = derivatives(mdp.expected(strength, loaded_dice), mdp.theta)
    _, true = derivatives(mdp.true_value, mdp.theta)
    assert np.abs(true).max() > 0.05
    np.testing.assert_allclose(found, true, atol=1e-14)


@pytest.mark.parametrize("with_baseline", [False, True])
def test_dice_has_both_with_and_without_a_baseline(mdp, with_baseline):
    baseline = np.take_along_axis(mdp.value[:T], mdp.state[:-1], axis=1)

    def weighed(theta):
        log_prob = mdp.log_prob(theta)
        total = mdp.earned * dice(log_prob, mdp.not_done)
        if with_baseline:
            total += baseline * dice_baseline(log_prob)
        return jnp.sum(mdp.odds * jnp.sum(mdp.discount * total, axis=0))

    found, true = derivatives(weighed, mdp.theta), derivatives(mdp.true_value, mdp.theta)
    for mine, its in zip(found, true, strict=True):
        np.testing.assert_allclose(mine, its, atol=1e-14)


def test_a_baseline_takes_variance_off_dice(mdp):
    """Per trajectory, so that one which is the same without cannot pass."""
    baseline = np.take_along_axis(mdp.value[:T], mdp.state[:-1], axis=1)

    def each(factor, theta):
        log_prob = mdp.log_prob(theta)
        total = mdp.earned * dice(log_prob, mdp.not_done)
        total += factor * baseline * dice_baseline(log_prob)
        return jnp.sum(mdp.discount * total, axis=0)

    plain, eased = (jax.jacobian(partial(each, x))(mdp.theta) for x in (0.0, 1.0))
    spread = [(mdp.odds[:, None, None] * np.square(x)).sum() for x in (plain, eased)]
    assert spread[1] < 0.8 * spread[0]


def test_lvc_lacks_the_products_of_different_steps_and_nothing_else(mdp):
    strength = mdp.discount * mdp.advantage(mdp.value)
    _, found = derivatives(mdp.expected(strength, lvc), mdp.theta)
    _, true = derivatives(mdp.true_value, mdp.theta)
    g, crossed = mdp.scores(), np.zeros((S, A, S, A))
    for t in range(T):
        for k in range(t):
            outer = np.einsum("n,nij,nkl->ijkl", mdp.odds * strength[t], g[k], g[t])
            crossed += outer + outer.transpose(2, 3, 0, 1)
    assert np.abs(crossed).max() > 0.02
    np.testing.assert_allclose(found + crossed, true, atol=1e-14)


def test_autodiff_has_no_second_derivative_where_v_is_that_of_the_time(mdp):
    """Softmax tables: the curvature of log pi(a|s) is the same for all a, and E[A_t | s_t] is 0."""
    strength = mdp.discount * mdp.advantage(mdp.value)
    _, found = derivatives(mdp.expected(strength, autodiff), mdp.theta)
    np.testing.assert_allclose(found, 0, atol=1e-15)
    stationary = np.broadcast_to(mdp.value[:1], mdp.value.shape)
    strength = mdp.discount * mdp.advantage(stationary)
    _, found = derivatives(mdp.expected(strength, autodiff), mdp.theta)
    assert np.abs(found).max() > 0.05


def errors(mdp, strength_of):
    """Largest errors of expected Jacobians of an update whose strength may depend on theta, by
    estimator; and the true largest."""

    def expected(theta, weight=autodiff, scored=False, follows=False):
        """`follows`: the odds of trajectories do, as in truth, where samples are what they are."""
        log_prob, strength = mdp.log_prob(theta), strength_of(theta)
        odds = mdp.environment * jnp.exp(jnp.sum(log_prob, axis=0)) if follows else mdp.odds
        odds = odds * score(log_prob) if scored else odds

        def surrogate(phi):
            each = jnp.sum(strength * weight(mdp.log_prob(phi), mdp.not_done), axis=0)
            return jnp.sum(odds * each)

        return jax.grad(surrogate)(theta)

    ways = {name: {"weight": ALIKE[name]} for name in ("autodiff", "lvc", "loaded_dice")}
    ways = {**ways, "score": {"scored": True}, "true": {"follows": True}}
    found = {k: jax.jit(jax.jacobian(partial(expected, **x)))(mdp.theta) for k, x in ways.items()}
    true = found.pop("true")
    gaps = {name: float(np.abs(x - true).max()) for name, x in found.items()}
    return gaps, float(np.abs(true).max())


def test_score_alone_is_unbiased_where_the_strength_is_learned(mdp):
    """As LPG's pi_hat it reads what comes after, and the probabilities of what was done."""

    def strength_of(theta):
        probability = jnp.exp(mdp.log_prob(theta))
        heard = mdp.earned + 0.5 * probability - 0.7
        ahead = jnp.cumsum(heard[::-1], axis=0)[::-1]
        return jnp.tanh(ahead) + 0.3 * probability**2

    gaps, size = errors(mdp, strength_of)
    assert size > 0.05 and gaps["score"] < 1e-14
    assert min(gaps[name] for name in ("autodiff", "lvc", "loaded_dice")) > 0.05 * size


def test_score_and_loaded_dice_are_unbiased_with_an_advantage(mdp):
    strength = mdp.discount * mdp.advantage(mdp.value)
    gaps, size = errors(mdp, lambda theta: strength)
    assert max(gaps["score"], gaps["loaded_dice"]) < 1e-14
    assert min(gaps["autodiff"], gaps["lvc"]) > 0.05 * size


LENGTH, B = 6, 4


def draw(seed=1):
    """Steps of several episodes: log-probabilities, ends, strengths."""
    rng = np.random.default_rng(seed)
    log_prob = np.log(rng.random((LENGTH, B)))
    not_done = (rng.random((LENGTH, B)) < 0.7).astype(float)
    return jnp.asarray(log_prob), jnp.asarray(not_done), rng.normal(size=(LENGTH, B))


def test_autodiff_lvc_and_loaded_dice_share_every_samples_first_derivative():
    log_prob, not_done, strength = draw()
    for weight in ALIKE.values():
        surrogate = lambda x, w=weight: jnp.sum(strength * w(x, not_done), axis=0)  # noqa: E731
        found = jax.jacobian(surrogate)(log_prob)
        for b in range(B):
            np.testing.assert_allclose(found[b, :, b], strength[:, b], rtol=1e-14)


def test_dice_is_reinforce():
    """A reward is owed to every action of its episode up to its own."""
    log_prob, not_done, reward = draw(2)
    owed = np.zeros((LENGTH, B))
    for b in range(B):
        for t in range(LENGTH):
            for k in range(t + 1):
                if not_done[k:t, b].all():
                    owed[k, b] += reward[t, b]
    found = jax.grad(lambda x: jnp.sum(reward * dice(x, not_done)))(log_prob)
    np.testing.assert_allclose(found, owed, rtol=1e-13)


@pytest.mark.parametrize("fade", [0.0, 0.6, 1.0])
def test_loaded_dice_squares_its_faded_sums_within_an_episode(fade):
    """Of exp(w) - exp(v) at 0: c_j c_k - c'_j c'_k, c and c' the coefficients of w and v."""
    log_prob, not_done, strength = draw(3)
    assert 0 < not_done.sum() < not_done.size
    expected = np.zeros((B, LENGTH, LENGTH))
    for b in range(B):
        for t in range(LENGTH):
            c = np.zeros(LENGTH)
            for k in range(t + 1):
                c[k] = fade ** (t - k) * not_done[k:t, b].all()
            before = c.copy()
            before[t] = 0.0
            expected[b] += strength[t, b] * (np.outer(c, c) - np.outer(before, before))

    def column(x, b):
        weight = loaded_dice(x[:, None], not_done[:, b : b + 1], fade)
        return jnp.sum(strength[:, b : b + 1] * weight)

    for b in range(B):
        found = jax.jit(jax.hessian(partial(column, b=b)))(log_prob[:, b])
        np.testing.assert_allclose(found, expected[b], atol=1e-13)


def test_lvc_is_loaded_dice_that_forgets_at_once():
    """To the third derivative, which no bootstrapped return hides."""
    log_prob, not_done, strength = draw(4)
    fading = partial(loaded_dice, causal_discount=0.0)

    def along(weight, x):
        return jnp.sum(strength * weight(log_prob + x * strength, not_done))

    for order in range(4):
        found = []
        for weight in (lvc, fading, loaded_dice):
            f = partial(along, weight)
            for _ in range(order):
                f = jax.grad(f)
            found.append(float(jax.jit(f)(0.0)))
        assert found[0] == pytest.approx(found[1], abs=1e-13)
        assert (abs(found[0] - found[2]) > 0.1) is (order > 1)
