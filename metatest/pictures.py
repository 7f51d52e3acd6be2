"""A picture of one state: grid worlds, the two colours, chains and MinAtar, each in its own way."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array, Shaped, UInt8

from envs import two_colours
from envs.delayed_chain import DelayedChain, DelayedChainParams, DelayedChainState
from envs.grid_world import GridWorld
from envs.render import AGENT, FLOOR, PUNISHING, REWARDING, render

# Of an observation and a state, without batch axes, and of the params.
Draw = Callable[[np.ndarray, Any, Any], UInt8[np.ndarray, "height width 3"]]
CELL = 16  # pixels
# Of what a chain's first action should be; of planes, in their order (Okabe and Ito 2008).
ACTIONS = ((230, 159, 0), (86, 180, 233))
PLANES = (
    (255, 255, 255), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66),
    (0, 114, 178), (213, 94, 0), (204, 121, 167), (153, 153, 153), (102, 51, 0),
)  # fmt: skip


def drawing_of(env: Any) -> Draw | None:
    """How to draw the environment; None where nobody knows."""
    env = getattr(env, "env", env)  # within an adapter
    if isinstance(env, GridWorld):
        return lambda observation, state, params: render(env, state, params, CELL)
    if isinstance(env, two_colours.TwoColours):
        return lambda observation, state, params: two_colours.render(state, CELL)
    if isinstance(env, DelayedChain):
        return lambda observation, state, params: draw_chain(state, params)
    if env.name.endswith("-MinAtar"):
        return lambda observation, state, params: draw_planes(observation)
    return None


def draw_chain(
    state: DelayedChainState, params: DelayedChainParams
) -> UInt8[np.ndarray, "height width 3"]:
    """The chain from left to right: the first cell has the colour of the right action, the last one
    is green or red once the first action was right or wrong; the agent is a smaller square."""
    colours = np.full((1, int(params.length), 3), FLOOR, np.uint8)
    colours[0, 0] = ACTIONS[int(state.correct_action)]
    if state.time > 0:
        colours[0, -1] = REWARDING if state.chose_correctly else PUNISHING
    image, inset = _enlarged(colours), CELL // 4
    left = int(state.time) * CELL
    image[inset : CELL - inset, left + inset : left + CELL - inset] = AGENT
    return image


def draw_planes(
    observation: Shaped[np.ndarray | Array, "planes height width"],
) -> UInt8[np.ndarray, "rows columns 3"]:
    """A colour a plane on black, the first plane, the agent's, on top."""
    present = np.asarray(observation) > 0
    palette = np.array([PLANES[i % len(PLANES)] for i in range(len(present))], np.uint8)
    colours = palette[present.argmax(axis=0)]
    colours[~present.any(axis=0)] = 0
    return _enlarged(colours)


def _enlarged(
    colours: UInt8[np.ndarray, "height width 3"],
) -> UInt8[np.ndarray, "rows columns 3"]:
    return colours.repeat(CELL, axis=0).repeat(CELL, axis=1)
