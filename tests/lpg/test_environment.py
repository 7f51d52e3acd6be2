"""Environments of the user's own: made fit for agents, or refused in a sentence."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import environment, spaces

from envs.suite import make, stack
from lpg import instance
from lpg.environment import adapted, find
from lpg.observation import highest, one_array

KEY = jax.random.key(0)


class Plain:
    """Ten steps, two actions; everything as it should be."""

    num_actions, default_params = 2, jnp.int32(10)

    def observe(self, state):
        return jnp.full(3, state, jnp.float32)

    def action_space(self, params):
        return spaces.Discrete(2)

    def reset_env(self, key, params):
        return self.observe(jnp.int32(0)), jnp.int32(0)

    def step_env(self, key, state, action, params):
        return self.observe(state + 1), state + 1, jnp.float32(action), jnp.bool_(False), {}

    def is_truncated(self, state, params):
        return state >= params


def life(env):
    """Observations of a reset and of a step, through the adapter."""
    made = adapted("mine", env, env.default_params)
    first, state = made.reset_env(KEY, env.default_params)
    return first, made.step_env(KEY, state, jnp.int32(1), env.default_params)[0]


def test_plain_observations_stay_as_they_are():
    first, second = life(Plain())
    np.testing.assert_array_equal(first, [0, 0, 0])
    np.testing.assert_array_equal(second, [1, 1, 1])


class Seen(NamedTuple):
    screen: jax.Array
    clock: jax.Array


@pytest.mark.parametrize("kind", ["dict", "tuple", "named"])
def test_dictionaries_and_tuples_become_one_vector(kind):
    """In the order of a dictionary's sorted keys, bytes as shares of 255."""

    class Parts(Plain):
        def observe(self, state):
            screen = jnp.array([[255, 0], [51, 0]], jnp.uint8)
            return {
                "dict": {"screen": screen, "clock": state},
                "tuple": (screen, state),
                "named": Seen(screen, state),
            }[kind]

    first, second = life(Parts())
    screen = [1.0, 0.0, 0.2, 0.0]
    expected = [1, *screen] if kind == "dict" else [*screen, 1]
    np.testing.assert_allclose(second, expected)
    assert first.shape == second.shape == (5,) and second.dtype == jnp.float32


def test_images_get_their_planes_first():
    image = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(one_array(jnp.asarray(image)), image.transpose(2, 0, 1))
    assert one_array(jnp.zeros((2, 3))).shape == (2, 3)


class Screen(Plain):
    """Bytes; what they can be is not said."""

    def observe(self, state):
        return jnp.full((4, 5, 3), 51, jnp.uint8)


class Board(Screen):
    """Bytes that are 0 or 1, and say so."""

    def observe(self, state):
        return jnp.ones((4, 5, 3), jnp.uint8)

    def observation_space(self, params):
        return spaces.Box(0, 1, (4, 5, 3), jnp.uint8)


class Screens(Screen):
    def observation_space(self, params):
        return spaces.Box(0, 255, (4, 5, 3), jnp.uint8)


@pytest.mark.parametrize(
    ("kind", "value", "dtype"),
    [(Screen, 0.2, jnp.float32), (Screens, 0.2, jnp.float32), (Board, 1, jnp.uint8)],
)
def test_bytes_are_shares_of_255_but_for_those_of_boards(kind, value, dtype):
    for seen in life(kind()):
        assert seen.shape == (3, 4, 5) and seen.dtype == dtype
        np.testing.assert_allclose(seen, np.float32(value))


def test_the_largest_number_of_a_space():
    box, flag = spaces.Box(np.array([0, -1.0]), np.array([3.0, 7.0]), (2,)), spaces.Box(0, 1, ())
    assert highest(box) == 7.0 and highest(flag) == 1.0
    assert highest(spaces.Dict({"a": flag, "b": box})) == 7.0
    assert highest(spaces.Tuple((flag, flag))) == 1.0
    assert highest(None) == highest(spaces.Discrete(3)) == np.inf


class Cells(Plain):
    """State indices, told by gymnax's space alone."""

    def observe(self, state):
        return state

    def observation_space(self, params):
        return spaces.Discrete(11)


def test_a_discrete_space_is_a_table():
    made = adapted("mine", Cells(), jnp.int32(10))
    assert instance.num_states(made) == 11 and int(instance.count_states(made, 10)) == 11
    assert instance.num_states(adapted("mine", Plain(), jnp.int32(10))) == 0


class Instances(Plain):
    """What an environment may say of itself reaches whoever asks through the adapter."""

    def sample_params(self, key, params):
        return params + 1

    def action_mask(self, params):
        return jnp.array([True, False])


def test_what_an_environment_says_of_itself_is_kept():
    made = adapted("mine", Instances(), jnp.int32(10))
    assert int(instance.sample_params(made, KEY, jnp.int32(10))) == 11
    np.testing.assert_array_equal(instance.action_mask(made, 10), [True, False])


class Timed(environment.Environment):
    """By gymnax's own time limit."""

    num_actions = 2

    @property
    def default_params(self):
        return environment.EnvParams(max_steps_in_episode=7)

    def action_space(self, params):
        return spaces.Discrete(2)

    def reset_env(self, key, params):
        return jnp.ones(3), environment.EnvState(time=jnp.int32(0))

    def step_env(self, key, state, action, params):
        state = environment.EnvState(time=state.time + 1)
        return jnp.ones(3), state, jnp.float32(0), jnp.bool_(False), {}


class TimedItself(Timed):
    def is_truncated(self, state, params):
        return state.time >= 3


class TimedByLife(Timed):
    def sample_params(self, key, params):
        return params.replace(max_steps_in_episode=2)


class TimedAndTelling(TimedItself):
    def least_limit(self, params):
        return 3


@pytest.mark.parametrize(
    ("kind", "steps"), [(Timed, 7), (TimedItself, 1), (TimedByLife, 1), (TimedAndTelling, 3)]
)
def test_time_limits_are_known_where_nothing_else_can_be(kind, steps):
    made = adapted("mine", kind(), kind().default_params)
    assert instance.least_limit(made, kind().default_params) == steps


def test_the_published_worlds_tell_their_limits():
    for name, steps in (("dense", 500), ("rand_sparse", 50), ("longer_horizon", 2000)):
        assert instance.least_limit(*make(name)) == steps
    env, stacked = stack(("dense", "long_horizon"))
    assert instance.least_limit(env, stacked) == 500
    assert instance.least_limit(*make("short")) > 10**9


def wrong(method, returned):
    """A class like `Instances` but for what one method returns."""
    return type("Wrong", (Instances,), {method: lambda self, *args: returned(*args)})()


def moved(**changes):
    def step(key, state, action, params):
        names = ("observation", "state", "reward", "terminated", "info")
        right = (jnp.ones(3), state + 1, jnp.float32(0), jnp.bool_(False), {})
        return tuple({**dict(zip(names, right, strict=True)), **changes}.values())

    return step


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        (
            wrong("reset_env", lambda k, p: jnp.ones(3)),
            "reset_env returns float32[3]; return an o",
        ),
        (
            wrong("reset_env", lambda k, p: (jnp.ones(3, jnp.int32), jnp.int32(0))),
            "step_env returns the observation float32[3], reset_env int32[3]; return the same",
        ),
        (
            wrong("reset_env", lambda k, p: ({}, jnp.int32(0))),
            "reset_env returns no observation; return an array",
        ),
        (wrong("step_env", lambda *a: moved()(*a)[:4]), "step_env returns [0]: float32[3], [1]: i"),
        (
            wrong("step_env", moved(state={"a": jnp.int32(0)})),
            "step_env returns the state ['a']: int32[], reset_env int32[]; return the same",
        ),
        (
            wrong("step_env", moved(reward=jnp.zeros(1))),
            "step_env returns the reward float32[1]; return a scalar",
        ),
        (
            wrong("step_env", moved(terminated=jnp.zeros((1,), bool))),
            "step_env returns whether the episode has ended as bool[1]; return a scalar bool",
        ),
        (
            wrong("is_truncated", lambda s, p: jnp.zeros((2,), bool)),
            "is_truncated returns whether the episode has ended as bool[2]; return a scalar bool",
        ),
        (
            wrong("action_mask", lambda p: jnp.ones(3, bool)),
            "action_mask returns bool[3]; return bool[2]",
        ),
        (
            wrong("step_env", lambda *a: jnp.ones(2) + jnp.ones(3)),
            "step_env raised TypeError: add got incompatible shapes",
        ),
        (wrong("sample_params", lambda k, p: p.nothing), "sample_params raised AttributeError"),
    ],
)
def test_what_cannot_be_lived_in_is_refused_in_a_sentence(env, sentence):
    with pytest.raises(ValueError) as caught:
        adapted("my.worlds:Wrong", env, env.default_params)
    assert str(caught.value).startswith(f"my.worlds:Wrong cannot be used: its {sentence}")
    assert "\n" not in str(caught.value)


def test_nothing_is_run_to_find_out():
    """A step that would print, or take hours, is only traced."""

    class Loud(Plain):
        def step_env(self, key, state, action, params):
            jax.debug.callback(lambda: pytest.fail("was run"))
            return super().step_env(key, state, action, params)

    adapted("mine", Loud(), jnp.int32(10))


def test_names_are_found_or_refused_with_those_that_are_close():
    env, _ = find("Catch-bsuite")
    assert (env.num_actions, env.num_states) == (3, 0)
    with pytest.raises(ValueError, match="did you mean my_dense"):
        find("my_dens", known=("my_dense",))
