"""The engines that leave a stage out, and the arithmetic on their times."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import stages as script
from tiny import TINY

from metatrain.engine import Engine

CONFIG = dataclasses.replace(TINY, envs=("distractor",), lifetimes=4)


def engine(kind=Engine):
    return kind(CONFIG.rule, CONFIG, devices=jax.devices()[:1])


@pytest.fixture(scope="module")
def start():
    return engine().init(jax.random.key(0))


def after_one_meta_step(kind, start):
    copy = jax.tree.map(jnp.copy, start)  # a run takes the state passed to it
    return engine(kind).run(copy, 1)[0]


def not_reborn(start, after):
    """Lifetimes that grew older, before and after, cohort by cohort."""
    for before, now in zip(start.lifetimes, after.lifetimes, strict=True):
        (older,) = np.nonzero(now.age > before.age)
        assert older.size
        yield jax.tree.map(lambda x, i=older: x[i], (before, now))


def assert_equal(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def differ(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return any(not np.array_equal(x, y) for x, y in pairs)


@pytest.mark.slow
def test_forward_alone_lives_the_same_window(start):
    whole = after_one_meta_step(Engine, start)
    forward = after_one_meta_step(script.ForwardOnly, start)
    for ours, theirs in zip(forward.lifetimes, whole.lifetimes, strict=True):
        assert_equal(ours.rollout, theirs.rollout)
        np.testing.assert_array_equal(ours.age, theirs.age)
    assert differ(forward.rule_params, whole.rule_params)


@pytest.mark.slow
def test_rollouts_alone_act_but_do_not_learn(start):
    after = after_one_meta_step(script.RolloutsOnly, start)
    pairs = list(not_reborn(start, after))
    for before, now in pairs:
        assert_equal(before.agent, now.agent)
        assert differ(before.trajectory, now.trajectory)
    # A critic's table stays as it is where no reward was met.
    assert any(differ(before.critic, now.critic) for before, now in pairs)


@pytest.mark.slow
def test_without_a_window_nothing_but_age_changes(start):
    after = after_one_meta_step(script.NoWindow, start)
    for before, now in not_reborn(start, after):
        for part in ("agent", "critic", "rollout", "trajectory"):
            assert_equal(getattr(before, part), getattr(now, part))


def test_stages_are_told_apart(monkeypatch):
    """Times made of known costs give these costs back."""
    turnover, rollouts, agents, agents_back, rule, rule_back = 1.0, 2.0, 4.0, 8.0, 16.0, 32.0
    free = turnover + rollouts + agents
    times = {
        "whole": free + agents_back + rule + rule_back,
        "forward": free + rule,
        "free whole": free + agents_back,
        "free forward": free,
        "rollouts": turnover + rollouts,
        "nothing": turnover,
    }

    def by_turns(programs, rounds):
        assert programs.keys() == times.keys()
        return [{name: 10 * times[name] for name in programs}] * rounds

    monkeypatch.setattr(script, "seconds_by_turns", by_turns)
    found = script.stage_seconds(engine(), calls=3, meta_steps=10)
    assert list(found.values()) == [rollouts, rule, rule_back, agents, agents_back, turnover]
