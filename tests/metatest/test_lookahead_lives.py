"""MGRL that looks several updates ahead: its name, and its lives under both harnesses."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lpg.heads import action_log_prob
from lpg.learner import FrozenRule
from lpg.lookahead import Lookahead
from lpg.rule import Hypers
from metatest.algorithms import AlgorithmOptions, choose
from metatest.atari.env import AtariEnv, AtariRollout
from metatest.atari.train import _learn, make_programs, play_and_learn
from metatest.atari.train import newborn as newborn_on_atari
from metatest.evaluate import Budget, make_task, plan
from metatest.lookahead import of_lookahead
from metatest.tasks import find_task
from metatest.train_agent import _update, born, train

BUDGET = Budget(seeds=1, selection_seeds=1, steps=320, num_steps=5)
SMALL = "num_envs=4,learning_rate=3e-2"


def named(name):
    (algorithm,) = choose((name,), AlgorithmOptions())
    return algorithm


def test_what_names_stand_for():
    usual = named("lvc_mgrl")
    assert isinstance(usual.learner, Lookahead) and usual.learner.rule.surrogate == "lvc"
    assert (usual.learner.num_updates, usual.learner.window) == (3, "discard")
    assert usual.training.atari.num_envs == 64 and usual.training.atari.gamma == 0.99
    plain = named("lvc_mgrl[surrogate=autodiff,window=reuse,num_updates=2]")
    assert (plain.learner.rule.surrogate, plain.learner.fresh) == ("autodiff", 2)
    assert plain.version != usual.version
    assert isinstance(named("lvc_mgrl[]").learner, FrozenRule)
    assert named("lvc_mgrl[gamma,lam]").learner.rule.live == ("gamma", "lam")
    assert of_lookahead("mgrl") is None


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("lvc_mgrl[colour]", "'colour' is no metaparameter"),
        ("lvc_mgrl[num_updates=0]", "num_updates must be at least 1, got 0"),
        ("lvc_mgrl[num_envs=0]", "num_envs must be at least 1"),
        ("lvc_mgrl[heads=3]", "'heads', which is no option"),
    ],
)
def test_options_that_there_are_not_are_refused(name, told):
    with pytest.raises(ValueError, match=told):
        named(name)


def test_steps_fall_over_real_updates():
    """A life of 320 steps: four windows of four rollouts of 20 steps, or five of three."""
    cartpole = find_task("CartPole-v1")
    for name, windows, real in (("discard", 4, 4), ("keep", 4, 12), ("reuse", 5, 15)):
        algorithm = named(f"lvc_mgrl[{SMALL},window={name}]")
        assert plan(algorithm, cartpole, BUDGET).updates == windows
        optimizer = make_task(algorithm, cartpole, BUDGET).optimizer
        state, sizes = optimizer.init(jnp.ones(2)), []
        for _ in range(real + 1):
            direction, state = optimizer.update(jnp.ones(2), state)
            sizes.append(float(direction[0]))
        assert sizes[-2] > 0.01 and sizes[-1] == 0.0


class Watched(Lookahead):
    """Notes how far its policies are from what acted, rollout by rollout, and theta_0's from what
    made the last one."""

    def learn(self, body, optimizer, state, trajectories, hypers):
        told, on, gaps = body._replace(condition=self.condition(state)), state, []
        for each in trajectories:
            newest, oldest = (
                action_log_prob(
                    told.outputs(x.agent.params, each.observation[:-1]).logits, each.action
                )
                for x in (on, state)
            )
            gaps.append(jnp.abs(newest - each.behaviour_log_prob).max())
            on = self.virtual(body, optimizer, on, each, hypers)
        from_first = jnp.abs(oldest - trajectories[-1].behaviour_log_prob).max()
        jax.debug.callback(lambda *noted: seen.append(noted), jnp.stack(gaps), from_first)
        return super().learn(body, optimizer, state, trajectories, hypers)


seen = []


@pytest.mark.slow
@pytest.mark.parametrize("window", ["discard", "reuse"])
def test_each_rollout_is_made_by_the_update_before_it(window):
    algorithm = named(f"lvc_mgrl[{SMALL},window={window}]")
    spec = replace(find_task("CartPole-v1"), agent="D(4)")
    learner = Watched(algorithm.learner.rule, window=window)
    task = replace(make_task(algorithm, spec, BUDGET), learner=learner)
    given = Hypers(*(jnp.float32(x) for x in (0.03, 0.5, 0.9)))
    life = jax.jit(partial(born, task))(jax.random.key(0), given)
    assert len(life.kept) == (window == "reuse")
    seen.clear()
    first = life.learner
    update = jax.jit(lambda life: _update(task, life)[0])
    for _ in range(2):
        life = update(life)
    jax.effects_barrier()
    assert len(seen) == 2
    for gaps, from_first in seen:
        assert len(gaps) == 4 and max(gaps) < 1e-5 and from_first > 1e-3
    assert int(life.learner.agent.opt_state[1].count) == (2 if window == "discard" else 6)
    for name, raw in life.learner.own.raw.items():
        assert raw != first.own.raw[name]


@pytest.mark.slow
def test_a_life_is_lived():
    """With metaparameters in its curve; A2C beside it lives by the same settings."""
    for name, traced in ((f"lvc_mgrl[{SMALL}]", 4), (f"lvc_mgrl[live=(),{SMALL}]", 0)):
        algorithm = named(name)
        spec = replace(find_task("CartPole-v1"), agent="D(4)")
        task = make_task(algorithm, spec, BUDGET)
        curve = train(task, jax.random.key(0), np.full(1, 3e-2), np.zeros(1), 0.99, 2, num_points=2)
        assert len(curve.traces) == traced and not curve.diverged.any()


class Screens(AtariEnv):
    """In place of an emulator: asks who acts for actions on screens of noise."""

    num_actions = 4

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def rollout(self, choose, num_steps):
        screens = self.rng.integers(0, 256, (num_steps + 1, 2, 4, 84, 84), np.uint8)
        chosen = [choose(screen) for screen in screens[:-1]]
        action, log_prob = (np.stack(x) for x in zip(*chosen, strict=True))
        reward = self.rng.normal(size=action.shape).astype(np.float32)
        never = np.zeros(action.shape, bool)
        return AtariRollout(screens, action, reward, never, never, log_prob, [])


@pytest.mark.slow
def test_on_atari_too_each_rollout_is_made_by_the_update_before_it():
    """With equal draws a rollout of theta_0 again would choose alike: log-probabilities tell."""
    (algorithm,) = choose(("lvc_mgrl[num_updates=2]",), AlgorithmOptions())
    learner = Watched(algorithm.learner.rule, num_updates=2, window="reuse")
    programs = make_programs(learner, 4, algorithm.training.atari, num_updates=4)
    object.__setattr__(programs, "learn", partial(_learn, programs))  # not compiled: it is watched
    seen.clear()
    given = Hypers(*(jnp.float32(x) for x in (7e-4, 0.0, 0.99)))
    state = newborn_on_atari(programs, 0, given)
    state, interval = play_and_learn(programs, state, Screens(), 2, 3)
    assert interval.updates == 2 and len(state.kept) == 1
    for gaps, from_first in seen:
        assert len(gaps) == 3 and max(gaps) < 1e-4 and from_first > 1e-3
