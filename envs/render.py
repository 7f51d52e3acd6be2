"""Pictures of grid worlds, for notebooks, reports and debugging."""

from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from envs.grid_world import GridWorld, GridWorldParams, GridWorldState

FLOOR = (235, 235, 235)
WALL = (60, 60, 60)
AGENT = (40, 90, 220)
REWARDING = (40, 160, 70)
PUNISHING = (210, 50, 50)
NEUTRAL = (150, 150, 150)


def render(
    env: Any, state: GridWorldState, params: GridWorldParams, cell_pixels: int = 16
) -> UInt8[np.ndarray, "rows columns 3"]:
    """One state as an RGB image of height * cell_pixels by width * cell_pixels.

    Walls are dark, present objects green (positive reward), red (negative) or grey (zero); the
    agent is a smaller blue square, so that an object under it stays visible.

    Errors: ValueError for an environment other than a grid world, for a batch of states and for
    cells too small to show both.
    """
    if not isinstance(env, GridWorld):
        raise ValueError(f"Only grid worlds can be drawn, not {type(env).__name__}.")
    if cell_pixels < 3:
        raise ValueError(f"cell_pixels must be at least 3, got {cell_pixels}.")
    if np.ndim(state.agent_cell) or np.ndim(params.height):
        raise ValueError("render draws one state; index the batch first.")
    state, params = jax.device_get((state, params))
    height, width = int(params.height), int(params.width)
    colours = np.empty((height, width, 3), np.uint8)
    colours[:] = FLOOR
    colours[params.wall[: height * width].reshape(height, width)] = WALL
    for cell, present, reward in zip(
        state.object_cell, state.present, params.object_reward, strict=True
    ):
        if present:
            colour = REWARDING if reward > 0 else PUNISHING if reward < 0 else NEUTRAL
            colours[divmod(int(cell), width)] = colour
    image = colours.repeat(cell_pixels, axis=0).repeat(cell_pixels, axis=1)
    top, left = (part * cell_pixels for part in divmod(int(state.agent_cell), width))
    inset = max(1, cell_pixels // 4)
    inside = slice(inset, cell_pixels - inset)
    image[top : top + cell_pixels, left : left + cell_pixels][inside, inside] = AGENT
    return image
