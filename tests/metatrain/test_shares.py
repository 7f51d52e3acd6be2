"""Each lifetime's share of the meta-gradient: identity, bound, spikes, lives not finite."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from tiny import TINY, unbounded

from lpg.rules.lpg import LPGTargets
from metatrain.engine import Engine
from metatrain.shares import Share, bound_of, bounded, typical_after, typical_at_first
from metatrain.window import window_loss

L, T, B, M = 4, 3, 2, 5


def cotangents(rng):
    return LPGTargets(
        jnp.asarray(rng.normal(size=(L, T, B)), jnp.float32),
        jnp.asarray(rng.normal(size=(L, T, B, M)), jnp.float32),
    )


def pulled_back(bars, bound):
    """Cotangents behind `bounded`, and the norms it tells."""
    targets = jax.tree.map(jnp.ones_like, bars)
    share = Share(jnp.float32(bound), jnp.zeros(L))
    out, pull = jax.vjp(bounded, targets, share)
    for a, b in zip(*map(jax.tree.leaves, (out, targets)), strict=True):
        np.testing.assert_array_equal(a, b)
    scaled, share_bar = pull(bars)
    return scaled, share_bar.tap


def norms_of(bars):
    return np.sqrt(
        sum((np.asarray(x, np.float64).reshape(L, -1) ** 2).sum(1) for x in jax.tree.leaves(bars))
    )


def test_shares_are_measured_and_bounded():
    bars = cotangents(np.random.default_rng(0))
    bars = jax.tree.map(lambda x: x.at[2].multiply(100.0), bars)
    expected = norms_of(bars)
    bound = 1.5 * np.median(expected)
    assert (expected > bound).tolist() == [False, False, True, False]
    scaled, told = pulled_back(bars, bound)
    np.testing.assert_allclose(told, expected, rtol=1e-5)
    for after, before in zip(*map(jax.tree.leaves, (scaled, bars)), strict=True):
        for life in (0, 1, 3):
            np.testing.assert_array_equal(after[life], before[life])
        np.testing.assert_allclose(after[2], before[2] * (bound / expected[2]), rtol=1e-5)
    np.testing.assert_allclose(norms_of(scaled)[2], bound, rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_a_share_that_is_not_finite_counts_zero(bad):
    bars = cotangents(np.random.default_rng(1))
    bars = bars._replace(pi_hat=bars.pi_hat.at[1, 0, 0].set(bad))
    scaled, told = pulled_back(bars, np.inf)
    assert np.isfinite(told).tolist() == [True, False, True, True]
    for after, before in zip(*map(jax.tree.leaves, (scaled, bars)), strict=True):
        np.testing.assert_array_equal(after[1], 0.0)
        np.testing.assert_array_equal(after[2], before[2])


def test_typical_is_a_running_mean_of_medians_over_finite_lives():
    first = typical_at_first(2)
    norms = jnp.array([[1.0, 2.0], [3.0, np.nan], [100.0, 4.0]])
    one = typical_after(first, norms)
    np.testing.assert_allclose(one, [3.0, 3.0])
    two = typical_after(one, jnp.array([[13.0, np.nan]] * 3))
    np.testing.assert_allclose(two, [0.9 * 3 + 0.1 * 13, 3.0], rtol=1e-6)


def test_a_bound_is_so_many_typical_norms_and_none_where_none_was_measured():
    typical = jnp.array([0.0, 2.0, np.inf])
    np.testing.assert_array_equal(bound_of(typical, 5.0), [np.inf, 10.0, np.inf])
    np.testing.assert_array_equal(bound_of(typical, None), [np.inf] * 3)


@pytest.fixture(scope="module")
def engine():
    # Rows without evidence are nobody's share, and so left out.
    config = replace(TINY, envs=("sparse", "short"), unearned_cost=0.0)
    return Engine(config.rule, config, devices=jax.devices()[:1], num_chunks=1)


@pytest.fixture(scope="module")
def gradient(engine):
    def of(state, bounds):
        keys = tuple(
            jax.random.split(jax.random.key(cohort.first_index), cohort.num_lifetimes)
            for cohort in engine.cohorts
        )
        return engine.window_gradient(state.rule_params, state.lifetimes, keys, bounds)

    return jax.jit(of)


@pytest.fixture(scope="module")
def state(engine, gradient):
    """Lives three windows old, under a rule that stays as it was born."""
    state = engine.init(jax.random.key(2))
    for _ in range(3):
        _, windows = gradient(state, bounds_of(engine, np.inf))
        typical = map(typical_after, state.typical_shares, windows.shares)
        state = state._replace(lifetimes=windows.lifetimes, typical_shares=tuple(typical))
    return jax.device_get(state)


def bounds_of(engine, value):
    return (jnp.full((TINY.num_updates,), value, jnp.float32),) * len(engine.cohorts)


def flat(grads):
    return np.asarray(ravel_pytree(grads)[0])


def test_where_nothing_exceeds_its_bound_the_gradient_is_the_same_to_the_bit(
    engine, gradient, state
):
    free, windows = gradient(state, bounds_of(engine, np.inf))
    largest = max(float(x.max()) for x in windows.shares)
    barely, _ = gradient(state, bounds_of(engine, largest))
    np.testing.assert_array_equal(flat(free), flat(barely))
    tight, _ = gradient(state, bounds_of(engine, 0.5 * largest))
    assert not np.array_equal(flat(free), flat(tight))


def with_life(state, cohort, change):
    """The state with `change` made to the agent of a cohort's first lifetime."""
    lifetimes = list(state.lifetimes)
    agent = lifetimes[cohort].agent
    params = jax.tree.map(lambda x: change(jnp.asarray(x)), agent.params)
    lifetimes[cohort] = lifetimes[cohort]._replace(agent=agent._replace(params=params))
    return state._replace(lifetimes=tuple(lifetimes))


@pytest.mark.parametrize("cohort", range(2))
def test_a_life_that_is_not_finite_costs_its_own_share_and_no_other(
    engine, gradient, gradient_without, state, cohort
):
    """The same as if that life's share had been bounded to nothing."""
    planted = with_life(state, cohort, lambda x: x.at[0].set(jnp.nan))
    grads, windows = gradient(planted, bounds_of(engine, np.inf))
    assert np.isfinite(flat(grads)).all()
    finite = [np.isfinite(np.asarray(x)).all(axis=1) for x in windows.shares]
    assert [int((~x).sum()) for x in finite] == [int(c == cohort) for c in range(2)]
    assert not finite[cohort][0]
    others = gradient_without(state, cohort)
    np.testing.assert_allclose(flat(grads), flat(others), rtol=2e-4, atol=1e-7)
    whole, _ = gradient(state, bounds_of(engine, np.inf))
    assert np.abs(flat(whole) - flat(others)).max() > 1e-5


@pytest.fixture(scope="module")
def gradient_without(engine):
    """The meta-gradient of all lives but a cohort's first, which is taken as data."""
    keys = tuple(
        jax.random.split(jax.random.key(c.first_index), c.num_lifetimes) for c in engine.cohorts
    )
    rows = [c.num_lifetimes * engine.config.num_envs for c in engine.cohorts]

    @jax.jit
    def of(state, deaf):
        def loss(rule_params):
            rule, shares = Deaf(engine.rule, deaf), unbounded(engine.config, keys)
            return window_loss(
                rule, engine.config, engine.cohorts, rule_params, state.lifetimes, keys, shares
            )[0]

        return jax.grad(loss)(state.rule_params)

    def without(state, cohort):
        first, row = sum(rows[:cohort]), np.arange(sum(rows))
        return of(state, (row >= first) & (row < first + engine.config.num_envs))

    return without


class Deaf:
    """A rule with some rows cut from the gradient."""

    def __init__(self, rule, rows):
        self.rule, self.rows = rule, rows

    def targets(self, rule_params, inputs):
        targets = self.rule.targets(rule_params, inputs)

        def cut(x):
            rows = self.rows.reshape(1, -1, *(1,) * (x.ndim - 2))
            return jnp.where(rows, jax.lax.stop_gradient(x), x)

        return jax.tree.map(cut, targets)

    def __getattr__(self, name):
        return getattr(self.rule, name)


def test_one_spike_owns_no_more_than_its_bound(engine, gradient, state):
    """A life whose outer loss is a thousandfold: its pull on eta grows no more than its bound."""
    bounds = tuple(5.0 * x for x in state.typical_shares)
    lifetimes = list(state.lifetimes)
    costs = jnp.asarray(lifetimes[0].policy_entropy_cost)
    lifetimes[0] = lifetimes[0]._replace(policy_entropy_cost=costs.at[0].set(1e4))
    spiked = state._replace(lifetimes=tuple(lifetimes))
    before, _ = gradient(state, bounds)
    after, _ = gradient(spiked, bounds)
    wild, windows = gradient(spiked, bounds_of(engine, np.inf))
    assert (np.asarray(windows.shares[0])[0] > 20 * np.asarray(bounds[0])).all()
    moved, free = (np.linalg.norm(flat(x) - flat(before)) for x in (after, wild))
    assert moved < 0.1 * free


def test_engine_learns_what_is_typical(state):
    for typical in state.typical_shares:
        assert typical.shape == (TINY.num_updates,)
        assert (np.asarray(typical) > 0).all() and np.isfinite(typical).all()
