"""The rollout against a Python loop over gymnax's public `step`, and its sampling of actions."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from envs.suite import make
from lpg.platform import for_platform
from lpg.rollout import Beyond, RolloutState, final_values, rollout, sample_action, start

NUM_ENVS, NUM_STEPS = 3, 70
MASKED = -1e9


class Played(NamedTuple):
    state: Any
    trajectory: Any
    summary: Any
    first: RolloutState
    key: Any


def policy(observation):
    """Logits [B, A] that depend on the observation, with the last action masked."""
    flat = observation.reshape((observation.shape[0], -1)).astype(jnp.float32)
    score = flat @ jnp.arange(1, flat.shape[1] + 1, dtype=jnp.float32)
    logits = jnp.sin(score[:, None] * jnp.arange(1, 10, dtype=jnp.float32)[None])
    return logits.at[:, 8].set(MASKED)


def chain_policy(observation):
    preference = jnp.sin(observation.astype(jnp.float32))
    return jnp.stack([preference, -preference], axis=-1)


def value(observation):
    """V [B], nowhere 0."""
    flat = observation.reshape((observation.shape[0], -1)).astype(jnp.float32)
    return 2.0 + jnp.sin(flat @ jnp.arange(flat.shape[1], dtype=jnp.float32))


# rand_sparse ends episodes both by collections and by its limit of 50 steps.
CASES = {"rand_sparse": policy, "short_noisy": chain_policy}


def play(name: str) -> tuple[Any, Any, list[Played]]:
    """Two rollouts, the second of which goes on where the first stopped."""
    env, params = make(name)
    state = start(jax.random.key(1), env, params, NUM_ENVS)
    played = []
    for seed, spacing in ((2, 1), (3, 50)):  # limits as near as can be, and as they are
        key, beyond = jax.random.key(seed), Beyond(value, spacing)
        run = jax.jit(
            lambda key, state, beyond=beyond: rollout(
                key, env, params, CASES[name], state, NUM_STEPS, beyond
            )
        )
        played.append(Played(*run(key, state), first=state, key=key))
        state = played[-1].state
    return env, params, played


@pytest.fixture(scope="module", params=[*CASES, "short_noisy by the program of GPUs"])
def game(request):
    name, _, of_gpus = request.param.partition(" ")
    with for_platform("gpu" if of_gpus else "cpu"):
        return name, *play(name)


def test_rollout_equals_a_loop_over_the_public_step(game):
    name, env, params, played = game
    step = jax.jit(jax.vmap(env.step, in_axes=(0, 0, 0, None)))
    for part in played:
        trajectory, state, observation = part.trajectory, part.first.env_state, None
        keys = jax.random.split(jax.random.split(part.key)[1], (NUM_STEPS, NUM_ENVS))
        np.testing.assert_array_equal(trajectory.observation[0], part.first.observation)
        for t in range(NUM_STEPS):
            observation, state, reward, terminated, truncated, _ = step(
                keys[t], state, trajectory.action[t], params
            )
            np.testing.assert_array_equal(trajectory.observation[t + 1], observation)
            np.testing.assert_array_equal(trajectory.reward[t], reward)
            np.testing.assert_array_equal(trajectory.terminated[t], terminated)
            np.testing.assert_array_equal(trajectory.truncated[t], truncated)
        jax.tree.map(np.testing.assert_array_equal, part.state.env_state, state)
        np.testing.assert_array_equal(part.state.observation, observation)
    ended = [np.concatenate([getattr(p.trajectory, k) for p in played]) for k in
             ("terminated", "truncated")]  # fmt: skip
    assert ended[0].any() and ended[1].any() == (name == "rand_sparse")  # both kinds were tested


def test_final_value_is_of_where_a_time_limit_cut_and_of_nothing_else(game):
    """By the step without its reset; what the environment ended itself has no future."""
    name, env, params, played = game

    @jax.jit
    def step(key, state, action):
        """The value of what is seen before a reset, and the state after one."""
        inner, whole = (jax.vmap(f, (0, 0, 0, None)) for f in (env.step_env, env.step))
        last = inner(jax.vmap(jax.random.split)(key)[:, 0], state, action, params)[0]
        return value(last), whole(key, state, action, params)[1]

    for part in played:
        trajectory, state = part.trajectory, part.first.env_state
        keys = jax.random.split(jax.random.split(part.key)[1], (NUM_STEPS, NUM_ENVS))
        for t in range(NUM_STEPS):
            last, state = step(keys[t], state, trajectory.action[t])
            cut = np.asarray(trajectory.truncated[t] & ~trajectory.terminated[t])
            expected = np.where(cut, last, 0.0)
            np.testing.assert_allclose(trajectory.final_value[t], expected, rtol=1e-6)
    cut = np.concatenate([part.trajectory.final_value for part in played]) != 0
    assert cut.any() == (name == "rand_sparse")


@pytest.mark.parametrize("spacing", [1, 2, 3, 5, 6, 1000])
def test_a_value_is_asked_for_no_more_often_than_limits_can_come(spacing):
    """Six steps of three environments, cut at most once in 2, 3 and 6 steps."""
    cut = np.zeros((6, 3), bool)
    cut[[0, 3], 0] = cut[5, 1] = True
    cut[:, 2] = spacing == 1
    if spacing > 3:
        cut[3, 0] = False
    last = np.arange(36.0, dtype=np.float32).reshape(6, 3, 2)
    asked = []

    def value(observation):
        asked.append(observation.shape)
        return observation[:, 0] + 0.5

    found = final_values(Beyond(value, spacing), jnp.asarray(cut), jnp.asarray(last))
    np.testing.assert_array_equal(found, np.where(cut, last[..., 0] + 0.5, 0.0))
    width = {1: 1, 2: 2, 3: 3, 5: 3}.get(spacing, 6)
    assert asked == [(3 * 6 // width, 2)]


def test_what_the_environment_ended_at_its_limit_has_no_future():
    """A world that ends in its third step, which is its limit as well."""

    class Both:
        num_actions = 2

        def reset_env(self, key, params):
            return jnp.ones(1), jnp.int32(0)

        def step_env(self, key, state, action, params):
            return jnp.ones(1), state + 1, jnp.float32(0), state + 1 == params, {}

        def is_truncated(self, state, params):
            return state >= 3

    def found(end):
        first = start(jax.random.key(0), Both(), end, 1)
        beyond = Beyond(lambda observation: observation[:, 0] + 6.0)
        policy = chain_policy_of_ones
        return rollout(jax.random.key(1), Both(), end, policy, first, 4, beyond)[1].final_value

    assert found(jnp.int32(3))[:, 0].tolist() == [0, 0, 0, 0]
    assert found(jnp.int32(9))[:, 0].tolist() == [0, 0, 7, 0]


def chain_policy_of_ones(observation):
    return jnp.ones((len(observation), 2))


def test_without_a_value_there_is_none():
    env, params = make("short")
    state = start(jax.random.key(1), env, params, 2)
    assert rollout(jax.random.key(2), env, params, chain_policy, state, 2)[1].final_value is None


def test_actions_invert_the_policys_distribution_at_the_uniform_draws(game):
    name, _, _, played = game
    for part in played:
        uniform = np.asarray(
            jax.random.uniform(jax.random.split(part.key)[0], (NUM_STEPS, NUM_ENVS)), np.float64
        )
        seen = part.trajectory.observation[:-1]
        logits = np.asarray(jax.vmap(CASES[name])(seen), np.float64)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        cumulative = np.cumsum(weights, -1) / weights.sum(-1, keepdims=True)
        # Within 1e-5 of a boundary, float32 may round to the other side.
        clear = np.abs(cumulative - uniform[..., None]).min(-1) > 1e-5
        want = (cumulative <= uniform[..., None]).sum(-1)
        assert clear.mean() > 0.99
        np.testing.assert_array_equal(part.trajectory.action[clear], want[clear])
        assert part.trajectory.action.dtype == jnp.int32


def test_behaviour_log_prob_is_the_policys_of_the_action_taken(game):
    name, _, _, played = game
    for each in played:
        trajectory = each.trajectory
        for t in range(NUM_STEPS):
            logits = np.asarray(CASES[name](trajectory.observation[t]), np.float64)
            action = np.asarray(trajectory.action[t])
            expected = np.log(special.softmax(logits, axis=-1)[np.arange(NUM_ENVS), action])
            np.testing.assert_allclose(trajectory.behaviour_log_prob[t], expected, rtol=1e-4)


def test_observation_after_an_episodes_end_is_the_next_episodes_first():
    env, _, played = play("rand_sparse")
    trajectory = played[0].trajectory
    done = np.asarray(trajectory.done)
    after = np.asarray(trajectory.observation)[1:][done]
    # All three objects are present at a start, and only a reset moves the agent by several cells.
    assert done.any() and (after[:, 1:].sum((1, 2, 3)) == 3).all()
    np.testing.assert_array_equal(done, trajectory.terminated | trajectory.truncated)
    agent = np.asarray(trajectory.observation)[:, :, 0].reshape(NUM_STEPS + 1, NUM_ENVS, -1)
    row, column = np.divmod(agent.argmax(-1), env.width)
    jump = np.maximum(abs(np.diff(row, axis=0)), abs(np.diff(column, axis=0)))
    assert jump[~done].max() <= 1 < jump[done].max()


def test_episode_returns_count_finished_episodes_across_calls(game):
    name, _, _, played = game
    running = np.zeros(NUM_ENVS)
    carried = 0.0
    for part in played:
        returns = []
        for reward, done in zip(part.trajectory.reward, part.trajectory.done, strict=True):
            running += np.asarray(reward)
            returns.extend(running[done])
            running[done] = 0.0
        assert len(returns) == part.summary.count > 0
        np.testing.assert_allclose(part.summary.return_sum, sum(returns), atol=1e-5)
        np.testing.assert_allclose(part.summary.reward_sum, np.sum(part.trajectory.reward))
        np.testing.assert_allclose(part.state.episode_return, running, atol=1e-6)
        carried += abs(running).sum()
    # In the noisy chain, some episode had a return when the calls broke it off.
    assert (carried > 0) == (name == "short_noisy")


def test_actions_follow_the_softmax_and_never_a_masked_action():
    """200,000 draws; chi-square with a false-alarm rate of 1e-6."""
    logits = jnp.array([MASKED, 0.0, 1.0, MASKED, -2.0, 0.5, MASKED])
    uniform = jax.random.uniform(jax.random.key(4), (200_000,))
    count = np.bincount(sample_action(jnp.broadcast_to(logits, (200_000, 7)), uniform), minlength=7)
    weights = np.exp(np.asarray(logits, np.float64))
    valid = weights > 0
    assert (count[~valid] == 0).all() and len(count) == 7
    expected = 200_000 * weights[valid] / weights[valid].sum()
    assert stats.chisquare(count[valid], expected).pvalue > 1e-6


def test_extreme_draws_choose_the_first_and_the_last_valid_action():
    logits = jnp.tile(jnp.array([MASKED, 0.3, 0.2, 0.1, MASKED]), (2, 1))
    largest = np.nextafter(np.float32(1), np.float32(0))
    np.testing.assert_array_equal(sample_action(logits, jnp.array([0.0, largest])), [1, 3])


def test_bfloat16_logits_are_sampled_in_float32():
    logits = jax.random.normal(jax.random.key(5), (20_000, 18)).astype(jnp.bfloat16)
    uniform = jax.random.uniform(jax.random.key(6), (20_000,))
    np.testing.assert_array_equal(
        sample_action(logits, uniform), sample_action(logits.astype(jnp.float32), uniform)
    )
