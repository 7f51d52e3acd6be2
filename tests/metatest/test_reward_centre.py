"""Rewards read from a centre: which of them, by how much, and what it leaves as it is."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments.classic_control import cartpole

from lpg.trajectory import Trajectory
from metatest.algorithms import a2c
from metatest.evaluate import Budget, make_task
from metatest.taking_up import kept_folder, lives_options
from metatest.tasks import find_task
from metatest.train_agent import rewards_read, train

BUDGET = Budget(steps=4_000, num_envs=4, num_steps=5, gamma=0.9)


def discounted(reward, terminated, gamma):
    """Sums of rewards from every step to the end of the episode, by a loop."""
    sums, after = np.zeros_like(reward), 0.0
    for t in reversed(range(len(reward))):
        after = sums[t] = reward[t] + (0.0 if terminated[t] else gamma * after)
    return sums


def test_every_return_to_an_end_moves_by_the_same():
    """By the potential c / (1 - gamma), which is the unit, whatever was paid on the way and however
    long it took."""
    gamma, centre, scale = 0.9, -1.5, 0.25
    rng = np.random.default_rng(0)
    reward, terminated = rng.normal(size=40).astype(np.float32), rng.random(40) < 0.15
    terminated[-1] = True
    task = replace(make_task(a2c(), find_task("short"), BUDGET), reward_centre=centre)
    none = jnp.zeros((40, 1))
    trajectory = Trajectory(none, none, reward[:, None], terminated[:, None], none > 0, none)
    read = rewards_read(replace(task, reward_scale=scale), trajectory, jnp.float32(gamma))
    moved = discounted(np.asarray(read[:, 0], float), terminated, gamma)
    plain, forever = discounted(reward.astype(float), terminated, gamma), centre / (1 - gamma)
    expected = scale * (plain - forever) / abs(forever)
    np.testing.assert_allclose(moved, expected, atol=1e-5)


class Punished(cartpole.CartPole):
    """Pays nothing for a step, and what is next to -1 where the pole falls."""

    def step_env(self, key, state, action, params):
        observation, state, _, fallen, info = super().step_env(key, state, action, params)
        at_limit = state.time >= params.max_steps_in_episode
        reward = jnp.where(fallen & ~at_limit, -0.9, 0.0)
        return observation, state, reward, fallen, info


def test_an_agent_learns_as_from_an_environment_that_pays_so():
    lives = []
    for name, centre in ((f"{__name__}:Punished", 0.0), ("CartPole-v1", 1.0)):
        budget = replace(BUDGET, reward_scale=1.0, reward_centre=centre)
        task = make_task(a2c(), replace(find_task(name), agent="D(8)"), budget)
        arm = np.full(2, 0.01), np.full(2, 0.5)
        train(task, jax.random.key(0), *arm, 0.9, 30, on_end=lives.append)
    for one, other in zip(*(jax.tree.leaves(x.learner.agent.params) for x in lives), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_centre_is_a_number(bad):
    with pytest.raises(ValueError, match=f"reward_centre must be a finite number, got {bad}"):
        replace(BUDGET, reward_centre=bad)


def test_lives_begun_without_a_centre_are_taken_up_where_there_is_none(tmp_path):
    spec = find_task("short")
    folder = kept_folder(tmp_path, a2c(), spec, BUDGET)
    options = lives_options(a2c(), spec, BUDGET)
    del options["reward_centre"]
    (folder / "options.json").write_text(json.dumps(options))
    assert kept_folder(tmp_path, a2c(), spec, BUDGET) == folder
    with pytest.raises(ValueError, match=r"reward_centre \(0.0 -> 1.0\)"):
        kept_folder(tmp_path, a2c(), spec, replace(BUDGET, reward_centre=1.0))
