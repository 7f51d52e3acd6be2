"""MGRL's toy chains: returns by a loop, meta-gradients by differences, and what is found."""

import jax
import jax.numpy as jnp
import mgrl_chains as script
import numpy as np
import optax
import pytest


def loop(reward, value, gamma, lam):
    """From the end backwards, with the numbers of the state that is entered."""
    found, following = np.zeros(len(reward)), 0.0
    for t in reversed(range(len(reward))):
        entered = t + 1
        if entered == len(reward):
            following = reward[t]
        else:
            mixed = (1 - lam[entered]) * value[entered] + lam[entered] * following
            following = reward[t] + gamma[entered] * mixed
        found[t] = following
    return found


def test_returns_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    reward, value = rng.normal(size=(2, 6))
    gamma, lam = rng.random((2, 6))
    got = script.returns(*(jnp.asarray(x, jnp.float32) for x in (reward, value, gamma, lam)))
    np.testing.assert_allclose(got, loop(reward, value, gamma, lam), rtol=1e-5)


def test_rewards_are_what_the_chains_pay():
    pays = np.asarray(script.rewards("gamma", jax.random.key(0)))
    assert len(pays) == 10 and np.allclose(pays[::2], 0.1) and np.ptp(pays[1::2]) > 0.1
    pays = np.asarray(script.rewards("lambda", jax.random.key(0)))
    assert len(pays) == 9
    np.testing.assert_allclose(pays[1::2], -pays[:-1:2])


def test_eta_descends_the_outer_loss(monkeypatch):
    """By central differences of a loop in NumPy, one step of plain descent."""
    monkeypatch.setattr(script, "ADAM", optax.sgd(1.0))
    rng, key = np.random.default_rng(1), jax.random.key(2)
    raw, value = rng.normal(size=(2, 9))
    state = script.State(*(jnp.asarray(x, jnp.float32) for x in (value, raw)), opt_state=None)
    state = state._replace(opt_state=script.ADAM.init(state.raw))
    after = script.update("lambda", state, key)
    inner, outer = (np.asarray(script.rewards("lambda", k)) for k in jax.random.split(key))

    def loss(raw):
        lam = 1 / (1 + np.exp(-raw))
        table = value + 0.5 * (loop(inner, value, np.ones(9), lam) - value)
        return 0.5 * np.sum((loop(outer, value, np.ones(9), np.ones(9)) - table) ** 2)

    for i in range(9):
        up, down = (raw + sign * 1e-5 * (np.arange(9) == i) for sign in (1, -1))
        slope = (loss(up) - loss(down)) / 2e-5
        assert float(raw[i] - after.raw[i]) == pytest.approx(slope, abs=2e-5)


def test_meta_gradients_find_which_states_to_trust():
    """The bounds hold for every state, of the mean over seeds."""
    last = {chain: script.run(chain, 4, 20_000, 4)[:, -1].mean(axis=0) for chain in script.LENGTHS}
    gamma, lam = script.kinds("gamma"), script.kinds("lambda")
    assert last["gamma"][gamma["noise"]].max() <= 0.16
    assert last["gamma"][gamma["signal"]].min() >= 0.60
    assert last["lambda"][lam["negation"]].min() >= 0.88
    back = last["lambda"][lam["noise"]]
    assert back.min() >= 0.42 and back.max() <= 0.73
