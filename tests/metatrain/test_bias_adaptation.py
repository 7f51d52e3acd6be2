"""The MAML-RL loop: what a point is, and that exact gradients climb."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from envs.tabular_mdp import sample_mdp
from metatrain.bias import accuracy, adaptation
from metatrain.bias.adaptation import Adaptation, measure, returned


def test_returns_are_of_the_first_policy_and_the_last():
    """In a state that all actions leave as they found it: r of the likeliest, / (1 - .8)."""
    with jax.enable_x64(True):
        mdp = sample_mdp(jax.random.key(0), 1, 3)
        theta = jax.numpy.stack([jax.numpy.zeros((1, 3)), 50 * jax.numpy.eye(3)[:1]])
        found = np.asarray(returned(mdp, theta))
    reward = np.asarray(mdp.reward)[0]
    np.testing.assert_allclose(found, [5 * reward.mean(), 5 * reward[0]], rtol=1e-6)


@pytest.mark.slow
def test_policies_climb_and_seeds_have_worlds_of_their_own(monkeypatch):
    """By LVC, faster than Adam's usual: a first policy that adapts to one MDP of a batch of two."""
    monkeypatch.setitem(accuracy.QUICKLY, "xla_backend_optimization_level", 0)
    monkeypatch.setattr(adaptation, "EVERY", 10)
    curve = Adaptation("lvc", meta_steps=40, mdps=2, seeds=2, outer_rate=0.1)
    with jax.enable_x64(True):
        found = measure(curve)
        still = measure(replace(curve, outer_rate=1e-12))
    assert found.after.shape == (2, 4) and (found.after > found.before).all()
    assert (found.before[:, -1] > found.before[:, 0] + 0.05).all()
    np.testing.assert_allclose(still.before, still.before[:, :1].repeat(4, axis=1), rtol=1e-6)
    assert abs(still.before[0, 0] - still.before[1, 0]) > 1e-3


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"estimator": "maml"}, "estimator must be one of autodiff"),
        ({"meta_steps": 30}, "meta_steps must be a multiple of 20, got 30"),
        ({"outer_rate": 0.0}, "outer_rate must be positive and finite, got 0.0"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
    ],
)
def test_bad_curves_are_refused(given, told):
    with pytest.raises(ValueError, match=told):
        Adaptation(**given)
