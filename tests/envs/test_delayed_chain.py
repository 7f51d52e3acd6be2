"""Delayed chains against the NumPy model, their draws, and the gymnax interface.

Statistics use fixed keys; counts are held to 4.5 standard deviations (two-sided false-alarm rate
6.8e-6 a comparison), chi-square tests to a p-value above 1e-6.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from grid_harness import BATCH, SIGMAS, assert_frequency, assert_uniform
from numpy_models import CHAINS, INDEX_CHAINS, chain_episode, chain_index
from scipy import stats

from envs.delayed_chain import DelayedChain, DelayedChainState, DistractorChain
from envs.suite import make, stack

NUM_RUNS = 2_000


def base(name):
    env, stacked = stack((name,))
    return env, jax.tree.map(lambda leaf: leaf[0], stacked)


@cache
def compiled_episodes(name):
    """Episodes without autoreset from reset on; rows after the end mean nothing."""
    env, params = base(name)
    longest = CHAINS[name].longest

    def one(key, length, correct, actions):
        own = params.replace(length=length, max_steps_in_episode=length)
        key_reset, key_steps = jax.random.split(key)
        _, state = env.reset_env(key_reset, own)
        state = state.replace(correct_action=jnp.where(correct < 0, state.correct_action, correct))
        first = env.observe(None, state, None, own)

        def step(carry, x):
            state, observation = carry
            after, state, reward, terminated, _ = env.step_env(x[0], state, x[1], own)
            outputs = (observation, reward, terminated, env.is_truncated(state, own))
            return (state, after), (*outputs, state.correct_action)

        keys = jax.random.split(key_steps, longest)
        return jax.lax.scan(step, (state, first), (keys, actions))[1]

    return jax.jit(jax.vmap(one))


def episodes(name, key, lengths, correct, actions):
    keys = jax.random.split(jax.random.key(key), len(lengths))
    arrays = (jnp.asarray(x, jnp.int32) for x in (lengths, correct, actions))
    return [np.asarray(x) for x in compiled_episodes(name)(keys, *arrays)]


def sampled_runs(name, seed):
    """2,000 runs: lengths cycling through the range, the environment's own correct action."""
    chain = CHAINS[name]
    lengths = chain.shortest + np.arange(NUM_RUNS) % (chain.longest - chain.shortest + 1)
    actions = np.random.default_rng(seed).integers(0, 2, (NUM_RUNS, chain.longest))
    return lengths, actions, episodes(name, seed, lengths, np.full(NUM_RUNS, -1), actions)


@pytest.mark.parametrize("name", INDEX_CHAINS)
def test_every_length_correct_action_and_choice_equals_the_numpy_model(name):
    chain = CHAINS[name]
    grids = np.meshgrid(np.arange(chain.shortest, chain.longest + 1), (0, 1), (0, 1))
    lengths, correct, first = (part.ravel() for part in grids)
    actions = np.random.default_rng(0).integers(0, 2, (len(lengths), chain.longest))
    actions[:, 0] = first
    observation, reward, terminated, truncated, _ = episodes(name, 1, lengths, correct, actions)
    assert not truncated.any()
    for i, length in enumerate(lengths):
        want = chain_episode(length, chain.noisy, correct[i], actions[i].tolist())
        for t, step in enumerate(want):
            case = f"{name} L={length} correct={correct[i]} t={t}"
            assert observation[i, t] == step.observation, case
            assert terminated[i, t] == step.terminated, case
            if step.reward is None:
                assert abs(reward[i, t]) == 1.0, case
            else:
                assert reward[i, t] == step.reward, case


@pytest.mark.parametrize("name", INDEX_CHAINS)
def test_state_indices_do_not_alias_and_number_4l_minus_2(name):
    chain = CHAINS[name]
    env, params = base(name)
    longest = chain.longest
    assert env.num_states == 4 * longest - 2 == {30: 118, 50: 198}[longest]
    times = [(c, t, chose) for c in (0, 1) for t in range(longest) for chose in (0, 1)]
    times = np.array([x for x in times if x[1] > 0 or x[2] == 0], np.int32)

    @jax.jit
    def indices(length):
        def one(correct, time, chose):
            state = DelayedChainState(
                time=time, correct_action=correct, chose_correctly=chose, noise=jnp.uint32(0)
            )
            return env.observe(None, state, None, params.replace(length=length))

        return jax.vmap(one)(*(jnp.asarray(column) for column in times.T))

    for length in range(chain.shortest, longest + 1):
        index = np.asarray(indices(jnp.int32(length)))[times[:, 1] < length]
        own = params.replace(length=jnp.int32(length))
        assert int(env.count_states(own)) == len(index) == 4 * length - 2
        assert sorted(index) == list(range(4 * length - 2))


@pytest.mark.parametrize("name", ["short_noisy", "long_noisy"])
def test_noise_is_fair_and_independent_of_the_step_before(name):
    lengths, _, (_, reward, _, _, _) = sampled_runs(name, seed=2)
    step = np.arange(1, CHAINS[name].longest + 1)
    middle = (step >= 2) & (step < lengths[:, None])
    coins = reward[middle]
    assert set(np.unique(coins)) == {-1.0, 1.0}
    assert_frequency((coins > 0).sum(), coins.size, 0.5, name)
    pairs = (reward[:, 1:] * reward[:, :-1])[middle[:, 1:] & middle[:, :-1]]
    assert_frequency((pairs > 0).sum(), pairs.size, 0.5, f"{name} consecutive")
    across = (reward[1:] * reward[:-1])[middle[1:] & middle[:-1]]
    assert_frequency((across > 0).sum(), across.size, 0.5, f"{name} parallel environments")


@pytest.mark.parametrize("name", CHAINS)
def test_optimal_policy_returns_one_and_uniform_policy_zero_on_average(name):
    chain = CHAINS[name]
    lengths, actions, (_, reward, terminated, _, correct) = sampled_runs(name, seed=3)
    within = np.arange(chain.longest) < lengths[:, None]
    assert (np.argmax(terminated, axis=1) == lengths - 1).all()
    assert_frequency((correct[:, 0] == 0).sum(), NUM_RUNS, 0.5, f"{name} correct action")
    assert (correct == correct[:, :1]).all()
    totals = (reward * within).sum(axis=1)
    # Variance 1 of the outcome and, in noisy chains, 1 for each of L - 2 coins.
    variance = 1 + chain.noisy * (lengths - 2)
    bound = SIGMAS * np.sqrt(variance.sum()) / NUM_RUNS
    assert abs(totals.mean()) < bound
    assert totals.std() == pytest.approx(np.sqrt(variance.mean()), rel=0.15)

    actions[:, 0] = correct[:, 0]  # same key, so the same correct actions and the same coins
    _, reward, _, _, again = episodes(name, 3, lengths, np.full(NUM_RUNS, -1), actions)
    assert (again[:, 0] == correct[:, 0]).all()
    best = (reward * within).sum(axis=1)
    assert (reward[np.arange(NUM_RUNS), lengths - 1] == 1.0).all()
    if chain.noisy:
        assert abs(best.mean() - 1) < bound
    else:
        assert (best == 1.0).all() and (abs(totals) == 1.0).all()


@pytest.mark.parametrize("name", CHAINS)
def test_lifetimes_draw_every_length_of_the_range_uniformly(name):
    env, params = base(name)
    keys = jax.random.split(jax.random.key(4), BATCH)
    drawn = jax.jit(jax.vmap(env.sample_params, (0, None)))(keys, params)
    lengths = np.asarray(drawn.length)
    assert_uniform(lengths, list(range(CHAINS[name].shortest, CHAINS[name].longest + 1)), name)
    np.testing.assert_array_equal(drawn.max_steps_in_episode, lengths)


def test_distractor_shows_two_relevant_bits_and_twenty_fair_independent_ones():
    lengths, actions, (observation, _, _, _, correct) = sampled_runs("distractor", seed=5)
    assert observation.shape == (NUM_RUNS, 30, 22) and observation.dtype == np.uint8
    within = np.arange(30) < lengths[:, None]
    chose = (actions[:, :1] == correct[:, :1]) & (np.arange(30) > 0)
    np.testing.assert_array_equal(observation[..., 0][within], (correct == 0)[within])
    np.testing.assert_array_equal(observation[..., 1][within], chose[within])

    # 2,000 x 30 rows of 20 bits (the noise goes on past an episode's end).
    bits = observation[..., 2:].astype(np.int64)
    assert set(np.unique(bits)) == {0, 1}
    rows = NUM_RUNS * 30
    for i in range(20):
        assert_frequency(bits[..., i].sum(), rows, 0.5, f"bit {i}")
    # Joint with itself a step earlier, every other bit of the row, and the relevant bits.
    signs = 2 * bits - 1
    deviation = SIGMAS * np.sqrt(rows)
    flat = signs.reshape(rows, 20)
    products = flat.T @ flat
    assert (np.abs(products[~np.eye(20, dtype=bool)]) < deviation).all()
    lagged = signs[:, 1:].reshape(-1, 20).T @ signs[:, :-1].reshape(-1, 20)
    assert (np.abs(lagged) < deviation).all()
    relevant = (2 * observation[:, 1, :2].astype(np.int64) - 1).T @ signs[:, 1]
    assert (np.abs(relevant) < SIGMAS * np.sqrt(NUM_RUNS)).all()
    # Triples of neighbouring bits: all eight patterns equally likely.
    pattern = bits[..., :3] @ np.array([1, 2, 4])
    assert stats.chisquare(np.bincount(pattern.ravel(), minlength=8)).pvalue > 1e-6


@pytest.mark.parametrize("kind", [DelayedChain, DistractorChain])
@pytest.mark.parametrize("correct", [0, 1])
def test_an_episode_by_words_drawn_beforehand(kind, correct):
    """Lowest bits: of the first word the correct action and then the coins, of the second noise.

    Of four steps in a noisy chain the first pays nothing, the middle two their coins, the last
    the outcome, for the right action at the start and the wrong one ever after.
    """
    env = kind(max_length=4, min_length=4, noisy=True)
    params = env.default_params
    noise = [0b10, 0b1, 0xFFFFFFFF, 0, 1 << 19]

    def words(bit, i):
        return jnp.array([0xF0 | bit, noise[i]], jnp.uint32)

    observation, state = env.reset_with(words(correct, 0), params)
    assert env.right_action(state) == correct
    rewards, ends, seen = [], [], [observation]
    for number, coin in enumerate((1, 0, 1, 0), start=1):
        action = correct if number == 1 else 1 - correct
        observation, state, reward, terminated, _ = env.step_with(
            words(coin, number), state, action, params
        )
        rewards.append(float(reward))
        ends.append((bool(terminated), bool(env.is_terminated(state, params))))
        seen.append(observation)
        assert env.right_action(state) == correct
    assert rewards == [0.0, -1.0, 1.0, 1.0]
    assert ends == [(False, False)] * 3 + [(True, True)]
    if kind is DistractorChain:
        bits = [[(word >> i) & 1 for i in range(20)] for word in noise]
        np.testing.assert_array_equal(np.stack(seen)[:, 2:], bits)


def test_steps_and_resets_are_those_by_the_words_of_their_key():
    env = DistractorChain(max_length=4, noisy=True)
    params, key = env.default_params, jax.random.key(0)
    pairs = [(env.reset_env(key, params), env.reset_with(env.draw_reset(key), params))]
    state = pairs[0][0][1].replace(time=jnp.int32(1))
    by_key = env.step_env(key, state, 0, params)
    pairs.append((by_key, env.step_with(env.draw_step(key), state, 0, params)))
    for a, b in pairs:
        jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("name", CHAINS)
def test_gymnax_client_plays_two_episodes(name):
    chain = CHAINS[name]
    env, params = make(name)
    length = int(params.length)
    assert chain.shortest <= length <= chain.longest
    assert env.num_actions == env.action_space(params).n == 2
    np.testing.assert_array_equal(env.action_mask(params), [True, True])
    space = env.observation_space(params)
    observation, state = env.reset(jax.random.key(6), params)
    for episode in range(2):
        correct = int(state.correct_action)
        choice = correct if episode == 0 else 1 - correct
        for number in range(1, length + 1):
            assert space.contains(observation) and observation.dtype == space.dtype
            assert np.shape(observation) == space.shape
            if name == "distractor":
                assert observation[0] == (correct == 0)
            else:
                chose = int(choice == correct) if number > 1 else 0
                assert observation == chain_index(length, number - 1, correct, chose)
            observation, state, reward, terminated, truncated, info = env.step(
                jax.random.key(100 * episode + number), state, choice, params
            )
            assert not truncated and not info["truncated"]
            assert bool(terminated) == bool(info["terminated"]) == (number == length)
            assert space.contains(info["final_observation"])
            assert info["discount"] == 1.0 - (number == length)
        assert reward == (1.0 if episode == 0 else -1.0)
        assert state.time == 0  # reset by itself
    defaults = env.default_params
    assert (defaults.min_length, defaults.max_length) == (chain.shortest, chain.longest)
    assert bool(defaults.noisy) == bool(params.noisy) == chain.noisy
