"""The two-colours grid world: what its rules say, and the returns of scripted policies."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.two_colours import KEY_A, MOVES, SIZE, TwoColours, TwoColoursState, render
from lpg.instance import for_parallel
from lpg.rollout import rollout, start
from metatest.algorithms import AlgorithmOptions, choose
from metatest.evaluate import Budget, make_task
from metatest.tasks import find_task

ENV, PARAMS = TwoColours(), TwoColours().default_params
UP, DOWN, LEFT, RIGHT = range(4)


def cell(row, column):
    return jnp.int32(row * SIZE + column)


def state(agent=(3, 3), keys=((3, 4), (5, 5)), goal=(3, 5), clock=0):
    return TwoColoursState(
        time=jnp.int32(0), clock=jnp.int32(clock), agent=cell(*agent), goal=cell(*goal),
        keys=jnp.stack([cell(*key) for key in keys]), has_key=jnp.array(False),
    )  # fmt: skip


def play(before, *actions, params=PARAMS):
    """Rewards, ends and the last state."""
    rewards, ends = [], []
    for action in actions:
        _, before, reward, end, _ = ENV.step_env(jax.random.key(0), before, action, params)
        rewards.append(round(float(reward), 6))
        ends.append(bool(end))
    return rewards, ends, before


def test_a_key_then_the_goal():
    rewards, ends, after = play(state(), RIGHT, RIGHT)
    assert rewards == [0.69, 0.99] and ends == [False, True]
    assert after.keys.tolist() == [-1, -1] and bool(after.has_key)


def test_without_a_key_the_goal_is_a_cell_like_others_and_the_second_key_is_gone():
    before = state(keys=((3, 5), (3, 6)), goal=(3, 4))
    rewards, ends, _ = play(before, RIGHT, RIGHT, RIGHT, LEFT, LEFT)
    assert rewards == [-0.01, 0.69, -0.01, -0.01, 0.99] and ends == [False] * 4 + [True]


def test_walls_block_and_a_step_costs_all_the_same():
    _, _, after = play(state(agent=(0, 0)), UP, LEFT, UP)
    assert after.agent == 0 and after.time == after.clock == 3


@pytest.mark.parametrize(("clock", "worth"), [(0, 0.69), (3124, 0.69), (3125, 0.29), (6250, 0.69)])
def test_keys_exchange_their_worths(clock, worth):
    assert play(state(clock=clock), RIGHT)[0] == [worth]
    other = state(keys=((5, 5), (3, 4)), clock=clock)
    assert play(other, RIGHT)[0] == [pytest.approx(0.98 - worth)]
    assert int(ENV.right_key(other, PARAMS)) == (0 if worth > 0.5 else 1)


def test_the_clock_counts_all_parallel_steps_and_outlives_episodes():
    assert for_parallel(ENV, PARAMS, 8).swap_every == 12500
    (impala,) = choose(("impala[num_envs=20]",), AlgorithmOptions())
    task = make_task(impala, find_task("two_colours"), Budget(num_steps=5))
    assert task.env_params.swap_every == 5000 and task.agent.dense_features == (256, 256)
    uniform = lambda observation: jnp.zeros((observation.shape[0], 4))  # noqa: E731
    ended, trajectory, _ = rollout(
        jax.random.key(0), ENV, PARAMS, uniform, start(jax.random.key(1), ENV, PARAMS, 3), 250
    )
    assert trajectory.truncated.sum() > 0  # at least two episodes have gone by
    np.testing.assert_array_equal(ended.env_state.clock, 250)
    assert (ended.env_state.time <= 100).all()
    now = ENV.reset_env(jax.random.key(2), PARAMS)[1]
    for i in range(105):
        now = ENV.step(jax.random.key(i), now, UP, PARAMS)[1]
    assert now.clock == 105 and now.time == 5


def test_observations_show_what_is_there():
    before = state()
    observation = ENV._observe(before)
    assert observation.shape == ENV.observation_space(PARAMS).shape == (SIZE, SIZE, 5)
    for plane, place in enumerate(((3, 3), (3, 4), (5, 5), (3, 5))):
        expected = np.zeros((SIZE, SIZE))
        expected[place] = 1
        np.testing.assert_array_equal(observation[..., plane], expected)
    assert observation[..., 4].sum() == 0
    held = ENV._observe(play(before, RIGHT)[2])
    assert held[..., 1:3].sum() == 0 and held[..., 4].all()


def test_places_are_distinct_and_everywhere():
    _, states = jax.vmap(lambda key: ENV.reset_env(key, PARAMS))(
        jax.random.split(jax.random.key(0), 4000)
    )
    places = np.column_stack([states.agent, states.keys, states.goal])
    assert all(len(set(row)) == 4 for row in places.tolist())
    for column in places.T:
        count = np.bincount(column, minlength=SIZE * SIZE)
        assert count.min() > 40 and count.max() < 130  # 82 +- 9


def walk(place, target):
    """The move that brings `place` nearer to `target`, rows first."""
    (r, c), (tr, tc) = (jnp.divmod(x, SIZE) for x in (place, target))
    vertical = jnp.where(tr < r, UP, DOWN)
    return jnp.where(tr != r, vertical, jnp.where(tc < c, LEFT, RIGHT))


def distance(a, b):
    (r, c), (tr, tc) = (jnp.divmod(x, SIZE) for x in (a, b))
    return jnp.abs(r - tr) + jnp.abs(c - tc)


def nearest(now, key):
    """The key of the shorter way to the goal, whatever it pays; either where they are as short."""
    ways = distance(now.agent, now.keys) + distance(now.keys, now.goal)
    ways = ways + 0.5 * jax.random.uniform(key, (2,))
    return walk(now.agent, jnp.where(now.has_key, now.goal, now.keys[jnp.argmin(ways)]))


def mean_return(policy, episodes=20_000):
    """Of first episodes, and their mean length."""

    def one(key):
        def step(carry, _):
            now, total, over, steps = carry
            action = policy(now, jax.random.fold_in(key, now.time))
            _, after, reward, end, _ = ENV.step_env(key, now, action, PARAMS)
            total = total + jnp.where(over, 0.0, reward)
            return (after, total, over | end, steps + ~over), None

        first = ENV.reset_env(key, PARAMS)[1], 0.0, jnp.array(False), jnp.int32(0)
        (_, total, _, steps), _ = jax.lax.scan(step, first, None, 100)
        return total, steps

    keys = jax.random.split(jax.random.key(5), episodes)
    return [float(x.mean()) for x in jax.jit(jax.vmap(one))(keys)]


def test_returns_of_scripted_policies():
    """Colour-blind by the shorter way: 1.5 - .01 E[T], where E[T] is enumerated; and uniform."""
    rows = np.array(list(product(range(SIZE), repeat=2)))
    apart = np.abs(rows[:, None] - rows[None]).sum(-1)
    rng = np.random.default_rng(0)
    agent, a, b, goal = rng.permuted(np.tile(np.arange(49), (200_000, 1)), axis=1)[:, :4].T
    way = np.minimum(apart[agent, a] + apart[a, goal], apart[agent, b] + apart[b, goal])
    assert way.mean() == pytest.approx(7.60, abs=0.03)
    blind, length = mean_return(nearest)
    assert length == pytest.approx(way.mean(), abs=0.06)
    assert blind == pytest.approx(1.424, abs=0.006)
    uniform, steps = mean_return(lambda now, key: jax.random.randint(key, (), 0, 4), 5000)
    assert uniform == pytest.approx(-0.060, abs=0.03)
    assert steps == pytest.approx(83.7, abs=1.5)


def around(a, b, obstacle):
    """Steps from a to b: two more where the obstacle lies between them in one line, and from the
    obstacle itself there is no way."""
    between = distance(a, obstacle) + distance(obstacle, b) == distance(a, b)
    (r, c), (tr, tc) = (jnp.divmod(x, SIZE) for x in (a, b))
    in_line = (r == tr) | (c == tc)
    return distance(a, b) + 2 * (between & in_line) + 100 * (a == obstacle)


def keyed(index):
    """Straight to one key around the other, then to the goal."""

    def policy(now, key):
        del key
        place = jnp.stack(jnp.divmod(now.agent, SIZE))[None] + jnp.array(MOVES)
        after = jnp.clip(place, 0, SIZE - 1) @ jnp.array([SIZE, 1])
        to_key = around(after, now.keys[index], now.keys[1 - index])
        return jnp.argmin(jnp.where(now.has_key, distance(after, now.goal), to_key))

    return policy


@pytest.mark.parametrize(("index", "expected"), [(0, 1.606), (1, 1.206)])
def test_returns_of_who_knows_the_keys(index, expected):
    """1.7 or 1.3 less .01 E[T] with E[T] = 9.35: two legs of 14/3 steps, and 2 steps around the
    other key where it lies between."""
    value, length = mean_return(keyed(index))
    assert length == pytest.approx(9.35, abs=0.06)
    assert value == pytest.approx(expected, abs=0.006)


def test_a_picture_has_the_colours_in_their_cells():
    image = render(state(), cell_pixels=4)
    assert image.shape == (28, 28, 3)
    np.testing.assert_array_equal(image[12, 16], KEY_A)
    assert len(np.unique(image.reshape(-1, 3), axis=0)) == 5
