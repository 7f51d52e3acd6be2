"""What an environment may say of itself, and what is taken where it says nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.delayed_chain import DelayedChain, DistractorChain
from lpg import instance


class Bare:
    """No more than a rollout needs."""

    num_actions = 3

    def reset_env(self, key, params):
        return jnp.zeros((2, params)), key


class Talkative(Bare):
    num_states = 12

    def sample_params(self, key, params):
        return params + 1

    def action_mask(self, params):
        return jnp.arange(3) < params

    def count_states(self, params):
        return jnp.int32(4 * params)


KEY = jax.random.key(0)


def test_of_an_environment_that_says_nothing():
    env = Bare()
    assert not instance.has_instances(env)
    assert instance.sample_params(env, KEY, "theirs") == "theirs"
    np.testing.assert_array_equal(instance.action_mask(env, 5), [True, True, True])
    assert int(instance.count_states(env, 5)) == 1
    assert instance.num_states(env) == 0


def test_of_an_environment_that_says_all_there_is_to_say():
    env = Talkative()
    assert instance.has_instances(env)
    assert instance.sample_params(env, KEY, 1) == 2
    np.testing.assert_array_equal(instance.action_mask(env, 2), [True, True, False])
    assert int(instance.count_states(env, 2)) == 8
    assert instance.num_states(env) == 12


def test_bits_are_no_state_indices():
    """The distractor's property raises, which must not reach whoever asks."""
    env = DistractorChain(max_length=6)
    with pytest.raises(AttributeError, match="not state indices"):
        _ = env.num_states
    assert instance.num_states(env) == 0
    assert instance.observation_shape(env, env.default_params) == (22,)


def test_the_shape_of_an_observation_is_a_resets():
    env = DelayedChain(max_length=6)  # shows one number
    assert instance.observation_shape(env, env.default_params) == ()
    assert instance.observation_shape(Bare(), 7) == (2, 7)
