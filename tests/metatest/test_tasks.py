"""From names to tasks, and gymnax environments against gymnax itself."""

from dataclasses import replace

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from corridor import Corridor
from gymnax.environments import spaces

from lpg.heads import Heads
from lpg.learner import FrozenRule
from lpg.random_play import random_return
from lpg.rollout import rollout, start
from lpg.rules.lpg import LPG
from lpg.rules.lpg_eq7 import LPGWithBaseline
from metatest.algorithms import Algorithm, a2c, ppo
from metatest.evaluate import Budget, evaluate, make_task, plan
from metatest.tasks import Overrides, find_task
from metatest.train_agent import train

RULE = LPG(hidden_size=4, prediction_size=3, embedding_size=2)


class Forbidden(Corridor):
    """Four actions, of which the last two, worth 3 each, are masked out."""

    num_actions = 4

    def action_mask(self, params):
        return jnp.array([True, True, False, False])

    def step_env(self, key, state, action, params):
        reward = jnp.where(action >= 2, 3, action)
        return super().step_env(key, state, reward, params)

    def action_space(self, params=None):
        return spaces.Discrete(4)


class ForbiddenByTheInstance(Forbidden):
    """The same, but an instance, drawn with equal chances, allows action 0 alone or 0 and 1."""

    def sample_params(self, key, params):
        return params.replace(max_steps_in_episode=jax.random.choice(key, jnp.array([5, 6])))

    def action_mask(self, params):
        return jnp.arange(4) < params.max_steps_in_episode - 4


@pytest.mark.parametrize("name", ["CartPole-v1", "Catch-bsuite", "Breakout-MinAtar"])
def test_rollout_equals_stepping_gymnax(name):
    """With the keys that the rollout uses, step by step through gymnax's public `step`."""
    spec, (env, params) = find_task(name), gymnax.make(name)
    steps, count, key = 12, 3, jax.random.key(4)
    state = start(jax.random.key(1), spec.env, spec.env_params, count)
    logits = jnp.zeros((count, env.num_actions))
    _, trajectory, _ = rollout(key, spec.env, spec.env_params, lambda o: logits, state, steps)
    keys = jax.random.split(jax.random.split(key)[1], steps * count).reshape(steps, count)
    step, env_state = jax.jit(env.step), state.env_state
    for b in range(count):
        s = jax.tree.map(lambda x, b=b: x[b], env_state)
        for t in range(steps):
            obs, s, reward, terminated, truncated, _ = step(
                keys[t, b], s, trajectory.action[t, b], params
            )
            seen = np.asarray(trajectory.observation[t + 1, b])
            seen = np.moveaxis(seen, 0, -1) if seen.ndim == 3 else seen
            np.testing.assert_allclose(seen, obs, rtol=1e-4, atol=1e-5)
            assert trajectory.reward[t, b] == reward and trajectory.reward.dtype == jnp.float32
            assert trajectory.terminated[t, b] == terminated
            assert trajectory.truncated[t, b] == truncated


def test_agents_by_observation_and_overrides():
    assert find_task("CartPole-v1").agent == "D(64-64)"
    minatar = find_task("Breakout-MinAtar")
    assert minatar.agent == "C(16)-D(128)" and minatar.observation_shape == (4, 10, 10)
    changed = Overrides(agent="D(8)", learning_rates=(1e-3,)).apply(minatar)
    assert (changed.agent, changed.num_arms) == ("D(8)", 3)
    assert make_task(a2c(), changed, Budget()).agent.heads == Heads(logits=3, value=1)
    published = find_task("short")
    assert (published.suite, published.agent, published.num_arms) == ("published", "table", 9)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CartPole", "did you mean CartPole-v1"),
        ("dense_rand", "did you mean dense or rand_dense or long_dense\\?"),
        ("Pendulum-v1", "continuous actions"),
        ("MNISTBandit-bsuite", "downloads data"),
        ("no.such.module:Env", "Cannot take 'no.such.module:Env' for an environment"),
        ("json:JSONDecoder", "gymnax Environment class"),
    ],
)
def test_what_cannot_be_is_refused(name, message):
    with pytest.raises(ValueError, match=message) as caught:
        find_task(name)
    assert "\n" not in str(caught.value)


def test_own_environment_by_import_path_end_to_end():
    spec = find_task(f"{Corridor.__module__}:Corridor")
    budget = Budget(seeds=2, selection_seeds=1, steps=4800, num_envs=8, num_steps=5)
    result = evaluate(a2c(), spec, budget)
    assert result.suite == "gymnax" and len(result.selection) == 12
    assert result.random_return == pytest.approx(2.5, abs=0.15)  # 12,800 episodes, sd 1.1
    assert all(value is not None and value > 4.5 for value in result.late_return)


def test_reward_scale_reaches_the_rule_but_not_the_figures():
    spec = find_task(f"{Corridor.__module__}:Corridor")
    budget = Budget(num_envs=8, num_steps=5)
    curves = []
    for scale in (1.0, 0.0 + 1e-9):
        task = make_task(a2c(), spec, replace(budget, reward_scale=scale))
        rates = np.full(2, 1e-2)
        curves.append(train(task, jax.random.key(0), rates, np.full(2, 0.5), 0.99, 80, 80))
    assert curves[0].episode_return[0].mean() == pytest.approx(2.5, abs=0.8)
    np.testing.assert_array_equal(curves[0].episode_return[0], curves[1].episode_return[0])
    learned, blind = (c.episode_return[-1].mean() for c in curves)
    assert learned > 4.0 and blind < 4.0


def test_baseline_head_is_asked_of_the_agent():
    rule = LPGWithBaseline(**vars(RULE))
    algorithm = Algorithm("lpg", FrozenRule(rule, rule.init(jax.random.key(0))))
    task = make_task(algorithm, find_task("CartPole-v1"), Budget())
    assert task.agent.heads == Heads(logits=2, prediction=3, value=1)


def test_random_return_of_a_fair_corridor():
    spec = find_task(f"{Corridor.__module__}:Corridor")
    assert random_return(spec.env, spec.env_params, jax.random.key(0)) == pytest.approx(
        2.5, abs=0.06
    )  # 4.5 sigma


@pytest.mark.parametrize("env", [Forbidden, ForbiddenByTheInstance])
def test_an_action_mask_holds_for_agents_and_the_random_policy(env):
    spec = find_task(f"{env.__module__}:{env.__name__}")
    # The mean over instances of episodes: 0 of 5 steps, or 3 of 6, of 200 and 166 episodes.
    expected = 2.5 if env is Forbidden else 3 * 166 / 366
    assert random_return(spec.env, spec.env_params, jax.random.key(0)) == pytest.approx(
        expected, abs=0.35
    )
    task = make_task(a2c(), spec, Budget(num_envs=8, num_steps=5))
    curve = train(task, jax.random.key(0), np.full(4, 1e-2), np.full(4, 0.5), 0.99, 20, 20)
    assert np.nanmax(curve.episode_return) <= (5 if env is Forbidden else 6)
    assert (curve.reward_per_step <= 1).all()


def test_algorithms_train_by_their_own_settings_unless_told_otherwise():
    learned, cartpole = Algorithm("lpg", FrozenRule(RULE, None)), find_task("CartPole-v1")
    assert plan(learned, cartpole, Budget()) == (400, 1280, (64, 0.995, 1.0, 1.0))
    assert plan(a2c(), cartpole, Budget()) == (3200, 160, (8, 0.99, 1.0, 1.0))
    assert plan(ppo(), cartpole, Budget()) == (800, 640, (32, 0.99, 0.1, 0.0))
    acrobot, catch = find_task("Acrobot-v1"), find_task("Catch-bsuite")
    assert plan(learned, acrobot, Budget()).settings == (64, 0.995, 1.0, -1.0)
    assert plan(a2c(), acrobot, Budget()).settings == (8, 0.99, 0.1, 0.0)
    assert plan(learned, catch, Budget()).settings == (64, 0.995, 1.0, 0.0)
    for algorithm in (learned, a2c()):
        assert plan(algorithm, find_task("short"), Budget()) == (781, 1280, (64, 0.995, 1.0, 0.0))
        told = Budget(num_envs=4, gamma=0.9, reward_scale=2.0, reward_centre=0.5)
        assert plan(algorithm, cartpole, told) == (6400, 80, (4, 0.9, 2.0, 0.5))


def test_budgets_are_equal_steps_to_within_an_update():
    """100,000 steps: 78 updates of 64 x 20 are 99,840, 625 of A2C's 8 x 20 are 100,000."""
    learned, cartpole = Algorithm("lpg", FrozenRule(RULE, None)), find_task("CartPole-v1")
    budget = Budget(steps=100_000)
    assert plan(learned, cartpole, budget).updates == 78
    assert plan(a2c(), cartpole, budget).updates == 625
    assert plan(learned, cartpole, Budget(steps=101_000)).updates == 79  # 101,120 is nearest
    assert plan(a2c(), cartpole, Budget(steps=1279)).updates == 8
    with pytest.raises(ValueError, match=r"1,279 steps are less than one update of lpg .* 1,280"):
        plan(learned, cartpole, Budget(steps=1279))
    with pytest.raises(ValueError, match="512,000 steps are less than one update"):
        plan(a2c(), cartpole, Budget(num_envs=30_000))
