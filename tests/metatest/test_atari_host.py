"""Acting on the host, beside a learner on a device of its own."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from test_atari_play import Silent

from lpg.platform import for_platform
from metatest.algorithms import a2c
from metatest.atari import train
from metatest.atari.env import AtariSettings
from metatest.atari.train import (
    acting_host,
    hypers,
    make_programs,
    newborn,
    play_and_learn,
)
from metatest.training import AtariTraining


class Screens(Silent):
    """Whole screens, and the actions that were chosen on them."""

    def rollout(self, choose, num_steps):
        rng = np.random.default_rng(self.rollouts)
        screens = rng.integers(0, 256, (num_steps + 1, 2, 4, 84, 84), np.uint8)
        chosen = [choose(screen) for screen in screens[:-1]]
        action, log_prob = map(np.stack, zip(*chosen, strict=True))
        return (
            super()
            .rollout(lambda screen: None, num_steps)
            ._replace(observation=screens, action=action, behaviour_log_prob=log_prob)
        )


def devices(tree):
    return {device for x in jax.tree.leaves(tree) for device in x.devices()}


def test_a_host_acts_as_the_learners_device_does():
    host, accelerator = jax.devices()[:2]
    states, acted = [], []
    with jax.default_device(accelerator):
        programs = make_programs(a2c().learner, 6)
        assert programs.host is None
        for each in (programs, replace(programs, host=host)):
            act, places = each.act, []

            def recorded(actor, key, screen, act=act, places=places):
                chosen = act(actor, key, screen)
                places.append((devices(actor), devices(key), devices(chosen), chosen))
                return chosen

            object.__setattr__(each, "act", recorded)
            state = newborn(programs, 0, hypers(1e-3, 0.5, 0.99))
            env = Screens("pong", AtariSettings(2), 0)
            with jax.transfer_guard_device_to_device("disallow"):  # but for what is fetched
                states.append(play_and_learn(each, state, env, 3, 2)[0])
            acted.append(places)
    for places, there in zip(acted, (accelerator, host), strict=True):
        assert len(places) == 6 and all(x == {there} for place in places for x in place[:3])
    for one, other in zip(*acted, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one[3], other[3])
    assert devices(states[0].learner) == devices(states[1].learner) == {accelerator}
    jax.tree.map(np.testing.assert_array_equal, states[0].learner, states[1].learner)


@pytest.mark.parametrize(
    ("torso", "cores", "acts"),
    [("nature", 8, True), ("nature", 7, False), ("resnet", 64, False)],
)
def test_beside_an_accelerator_the_small_network_acts_on_a_host_of_many_cores(
    monkeypatch, torso, cores, acts
):
    monkeypatch.setattr(train, "cores", lambda: cores)
    training = AtariTraining(torso=torso)
    assert acting_host(training) is None
    with for_platform("cuda"):
        found = acting_host(training)
        assert make_programs(a2c().learner, 6, training).host == found
    assert found == (jax.devices("cpu")[0] if acts else None)


def test_no_accelerator_needs_a_cpu_beside_it(monkeypatch):
    def none_there(backend):
        raise RuntimeError(f"Unknown backend {backend}")

    monkeypatch.setattr(train, "cores", lambda: 16)
    monkeypatch.setattr(jax, "local_devices", none_there)
    with for_platform("cuda"):
        assert acting_host(AtariTraining()) is None
