"""Pictures of states and GIFs of them, pixel by pixel against what states say."""

from pathlib import Path

import gymnax
import jax
import numpy as np
import pytest
from PIL import Image

from envs.delayed_chain import DelayedChain
from envs.render import AGENT, FLOOR, PUNISHING, REWARDING
from metatest.gif import is_of, write_gif
from metatest.pictures import ACTIONS, CELL, PLANES, draw_planes, drawing_of
from metatest.tasks import find_task


def cells(image):
    """The colours of the cells' corners, where no agent's square is."""
    return [[tuple(map(int, x)) for x in row] for row in image[::CELL, ::CELL]]


def middles(image):
    return [
        [tuple(map(int, x)) for x in row] for row in image[CELL // 2 :: CELL, CELL // 2 :: CELL]
    ]


@pytest.mark.parametrize("chosen", [0, 1])
def test_a_chain_shows_where_it_is_what_is_right_and_what_was_chosen(chosen):
    env = DelayedChain(max_length=5)
    params, draw = env.default_params, drawing_of(env)
    observation, state = env.reset_env(jax.random.key(0), params)
    right = int(state.correct_action)
    image = draw(observation, state, params)
    assert image.shape == (CELL, 5 * CELL, 3)
    assert cells(image) == [[ACTIONS[right], *[FLOOR] * 4]]
    assert middles(image)[0][0] == AGENT and middles(image)[0].count(AGENT) == 1
    action = right if chosen else 1 - right
    observation, state, *_ = env.step_env(jax.random.key(1), state, action, params)
    image = draw(observation, state, params)
    ends = REWARDING if chosen else PUNISHING
    assert cells(image) == [[ACTIONS[right], *[FLOOR] * 3, ends]]
    assert middles(image)[0].index(AGENT) == 1


def test_planes_are_colours_and_the_agents_is_on_top():
    board = np.zeros((12, 3, 4), np.float32)
    board[0, 1, 2] = board[3, 1, 2] = board[3, 0, 0] = board[11, 2, 3] = 1
    image = draw_planes(board)
    assert image.shape == (3 * CELL, 4 * CELL, 3)
    expected = [[(0, 0, 0)] * 4 for _ in range(3)]
    expected[1][2], expected[0][0], expected[2][3] = PLANES[0], PLANES[3], PLANES[1]
    assert cells(image) == expected


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("dense", (11, 11)), ("two_colours", (7, 7)), ("Breakout-MinAtar", (10, 10)),
        ("CartPole-v1", None),
    ],
)  # fmt: skip
def test_who_can_be_drawn(name, shape):
    spec = find_task(name)
    draw = drawing_of(spec.env)
    if shape is None:
        assert draw is None
        return
    observation, state = spec.env.reset_env(jax.random.key(0), spec.env_params)
    observation, state = jax.device_get((observation, state))
    image = draw(observation, state, spec.env_params)
    assert image.dtype == np.uint8 and len({x for row in cells(image) for x in row}) > 1
    assert image.shape == (shape[0] * CELL, shape[1] * CELL, 3)


def test_minatar_shows_what_gymnax_observes():
    """Ball, paddle and bricks of Breakout, by gymnax's own observation."""
    env, params = gymnax.make("Breakout-MinAtar")
    spec = find_task("Breakout-MinAtar")
    observation, state = spec.env.reset_env(jax.random.key(0), spec.env_params)
    board = np.asarray(env.observe(jax.random.key(0), state, None, params))
    shown = cells(drawing_of(spec.env)(observation, state, params))
    for row in range(10):
        for column in range(10):
            seen = np.flatnonzero(board[row, column])
            assert shown[row][column] == (PLANES[seen[0]] if len(seen) else (0, 0, 0))


def test_a_gif_says_what_it_shows_and_one_that_is_not_whole_is_none(tmp_path):
    path = tmp_path / "videos" / "x.gif"
    screens = [np.full((4, 6, 3), 40 * i, np.uint8) for i in range(4)]
    write_gif(path, screens, 50, "an agent")
    assert is_of(path, "an agent") and not is_of(path, "another")
    assert not is_of(Path("nowhere.gif"), "an agent")
    with Image.open(path) as image:
        assert (image.n_frames, image.info["duration"], image.size) == (4, 50, (6, 4))
        image.seek(2)
        np.testing.assert_allclose(np.asarray(image.convert("RGB")), 80, atol=4)
    path.write_text("x")
    assert not is_of(path, "an agent")
