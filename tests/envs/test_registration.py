"""What any gymnax client does: make an environment by name, wrap it, ask its spaces."""

from dataclasses import fields

import gymnax
import jax
import numpy as np
import pytest
from gymnax.environments.spaces import Box
from gymnax.wrappers.purerl import FlattenObservationWrapper, LogWrapper

import envs
from envs.registration import register
from envs.two_colours import TwoColours

NAMES = (*envs.SUITE, "two_colours")
NUM_STEPS = 120  # more than an episode of chains, `sparse`, `rand_sparse` and two_colours
# Rows, columns, objects and step limit, as appendix A has them.
GRIDS = {
    "dense": (11, 11, 4, 500),
    "sparse": (13, 13, 2, 50),
    "long_horizon": (11, 11, 4, 1000),
    "longer_horizon": (7, 9, 7, 2000),
    "long_dense": (11, 11, 4, 2000),
    "rand_dense": (11, 11, 4, 500),
    "rand_long_horizon": (11, 11, 4, 1000),
    "rand_small": (5, 7, 4, 500),
    "rand_sparse": (5, 7, 3, 50),
    "rand_very_dense": (11, 11, 1, 2000),
}
LONGEST = {"short": 30, "short_noisy": 30, "long": 50, "long_noisy": 50, "distractor": 30}


def largest(name):
    """The largest value of each field of a state."""
    if name in GRIDS:
        rows, columns, _, limit = GRIDS[name]
        cells = rows * columns
        return {"time": limit, "agent_cell": cells - 1, "object_cell": cells - 1, "present": True}
    if name in LONGEST:
        bits = {"correct_action": 1, "chose_correctly": 1, "noise": 2**32 - 1}
        return {"time": LONGEST[name], **bits}
    cells = {"agent": 48, "keys": 48, "goal": 48}
    return {"time": 100, "clock": 2**31 - 1, **cells, "has_key": True}


def played(env, params):
    """What a random walk through the log wrapper shows, whether each lies in its space, and the
    lengths of episodes as the wrapper counts them. All in one program, for speed."""
    logged = LogWrapper(env)
    observations = env.observation_space(params)

    def step(state, key):
        key_action, key_step = jax.random.split(key)
        action = env.action_space(params).sample(key_action)
        observation, state, *_, info = logged.step(key_step, state, action, params)
        within = {
            "observation": observations.contains(observation),
            "final observation": observations.contains(info["final_observation"]),
            "state": env.state_space(params).contains(state.env_state),
            "action": env.action_space(params).contains(action),
        }
        return state, (observation, within, info["returned_episode_lengths"])

    keys = jax.random.split(jax.random.key(1), NUM_STEPS)
    return jax.jit(lambda: jax.lax.scan(step, logged.reset(keys[0], params)[1], keys)[1])()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_played_lies_in_its_spaces(name):
    env, params = gymnax.make(name)
    observation, within, lengths = jax.device_get(played(env, params))
    assert {part: bool(np.all(inside)) for part, inside in within.items()} == dict.fromkeys(
        ("observation", "final observation", "state", "action"), True
    )
    space = env.observation_space(params)
    assert (observation.shape[1:], observation.dtype) == (space.shape, space.dtype)
    assert env.action_space(params).n == env.num_actions
    if name in LONGEST:
        assert lengths[-1] == params.length  # episodes, as the wrapper counts them
    elif name in GRIDS:
        assert lengths.max() <= GRIDS[name][3]
    if name in ("sparse", "rand_sparse", "two_colours"):
        assert lengths[-1] > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_state_space_has_the_states_fields_and_is_no_larger_than_they_can_be(name):
    env, params = gymnax.make(name)
    state = jax.eval_shape(env.reset, jax.random.key(0), params)[1]
    space = env.state_space(params)
    assert list(space.spaces) == [field.name for field in fields(state)]
    for field, highest in largest(name).items():
        shown, own = getattr(state, field), space.spaces[field]
        assert shown.shape == own.shape, field
        assert shown.dtype == own.dtype or shown.dtype == bool, field
        assert own.contains(np.full(shown.shape, highest, shown.dtype)), field
        if highest not in (True, 2**32 - 1, 2**31 - 1):  # nothing of that type is beyond
            for outside in (highest + 1, -2):
                assert not own.contains(np.full(shown.shape, outside, shown.dtype)), field


def test_gymnax_makes_what_make_does():
    for name in envs.SUITE:
        env, params = envs.make(name)
        theirs, theirs_params = gymnax.make(name)
        assert env == theirs
        for own in (theirs_params, env.default_params):
            jax.tree.map(np.testing.assert_array_equal, params, own)
    lengths = {int(gymnax.make("short", seed=seed)[1].length) for seed in range(8)}
    assert len(lengths) > 1
    assert gymnax.make("dense", num_actions=18, seed=3)[0] == envs.make("dense", 18, 3)[0]
    assert type(gymnax.make("two_colours")[0]) is TwoColours


@pytest.mark.parametrize("name", ["rand_small", "distractor", "two_colours"])
def test_flattened_observations_lie_in_the_flattened_space(name):
    env, params = gymnax.make(name)
    flat = FlattenObservationWrapper(env)
    space = flat.observation_space(params)
    first, state = flat.reset(jax.random.key(0), params)
    second, *_ = flat.step(jax.random.key(1), state, 0, params)
    assert isinstance(space, Box)
    assert first.shape == second.shape == space.shape == (env.reset(jax.random.key(0))[0].size,)
    assert space.contains(first) and space.contains(second)


def test_names_that_are_taken_stay_whose_they_are(monkeypatch):
    registry = gymnax.registration._registry
    monkeypatch.setitem(registry, "dense", "theirs")
    register()
    assert registry["dense"] == "theirs"
    assert len(set(gymnax.registered_envs)) == len(gymnax.registered_envs)
