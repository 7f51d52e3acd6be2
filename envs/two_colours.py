"""Two-colours grid world: two keys whose worth is exchanged every so many steps.

Source: `Distributional meta-gradients` (2022), section 5.1; what it leaves open is chosen here:
four moves, distinct uniform cells, one key an episode, .01 a step, at most 100 steps.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array, UInt8

from envs.suite import SuiteRow

SIZE = 7
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))  # up, down, left, right
PLANES = ("agent", "key A", "key B", "goal", "has a key")
FLOOR, AGENT, KEY_A = (235, 235, 235), (40, 160, 70), (210, 50, 50)
KEY_B, GOAL = (40, 90, 220), (240, 200, 40)


@struct.dataclass
class TwoColoursParams(environment.EnvParams):
    """What keys and steps are worth, and when that changes."""

    high: Any = 0.7  # of key A at first, of key B after the first exchange
    low: Any = 0.3
    step_cost: Any = 0.01
    # Steps of this environment between exchanges: 1e5 of 32 that are stepped side by side.
    swap_every: Any = 3125
    max_steps_in_episode: Any = 100


@struct.dataclass
class TwoColoursState(environment.EnvState):
    """Cells are row * 7 + column; a key that was taken, or whose twin was, is at -1."""

    time: Any
    clock: Any  # steps since the environment was made, episode after episode
    agent: Any
    keys: Any  # i32 [2]
    goal: Any
    has_key: Any


class TwoColours(environment.Environment[TwoColoursState, TwoColoursParams]):
    """Take one of two keys, which pays, then go to the goal, which pays 1 and ends the episode."""

    suite_row: ClassVar[SuiteRow] = SuiteRow(
        name="two_colours",
        family="user",
        spec=None,
        agent="D(256-256)",
        optimizer="adam",
        learning_rates=(5e-4, 1e-3, 2e-3, 5e-3),
        prediction_costs=(0.1, 0.5, 1.0),
        lifetime_steps=1_000_000,
    )

    @property
    def name(self) -> str:
        """As metatest calls it."""
        return "two_colours"

    @property
    def num_actions(self) -> int:
        """Up, down, left, right; walls block."""
        return len(MOVES)

    @property
    def default_params(self) -> TwoColoursParams:
        """The published worths."""
        return TwoColoursParams()

    def for_parallel(self, params: TwoColoursParams, num_envs: int) -> TwoColoursParams:
        """An exchange every 1e5 steps of `num_envs` environments together, as published."""
        return dataclasses.replace(params, swap_every=max(1, round(100_000 / num_envs)))

    def carry_over(self, before: TwoColoursState, fresh: TwoColoursState) -> TwoColoursState:
        """The clock goes on when an episode begins."""
        return dataclasses.replace(fresh, clock=before.clock)

    def step(
        self, key: Array, state: Any, action: Any, params: Any = None
    ) -> tuple[Array, Any, Array, Array, Array, dict[str, Any]]:
        """gymnax's, with its autoreset, but that the clock goes on."""
        params = self.default_params if params is None else params
        *parts, info = super().step(key, state, action, params)
        observation, after, reward, terminated, truncated = parts
        after = dataclasses.replace(after, clock=state.clock + 1)
        return observation, after, reward, terminated, truncated, info

    def reset_env(self, key: Array, params: TwoColoursParams) -> tuple[Array, TwoColoursState]:
        """Agent, keys and goal on distinct uniform cells; the clock at 0."""
        del params
        cells = jax.random.permutation(key, SIZE * SIZE)[:4].astype(jnp.int32)
        zero = jnp.int32(0)
        state = TwoColoursState(
            time=zero,
            clock=zero,
            agent=cells[0],
            keys=cells[1:3],
            goal=cells[3],
            has_key=jnp.array(False),
        )
        return self._observe(state), state

    def step_env(
        self, key: Array, state: TwoColoursState, action: Array | int, params: TwoColoursParams
    ) -> tuple[Array, TwoColoursState, Array, Array, dict[str, Any]]:
        """Without a key the goal is a cell like others; with one, so is nothing but the goal."""
        del key
        move = jnp.asarray(MOVES)[action]
        row, column = jnp.divmod(state.agent, SIZE)
        row, column = (
            jnp.clip(x + d, 0, SIZE - 1) for x, d in zip((row, column), move, strict=True)
        )
        agent = row * SIZE + column
        taken = (agent == state.keys) & ~state.has_key
        worth = jnp.array([params.high, params.low])
        worth = jnp.where(self.right_key(state, params) == 1, worth[::-1], worth)
        reached = state.has_key & (agent == state.goal)
        reward = jnp.sum(taken * worth) + reached - params.step_cost
        has_key = state.has_key | taken.any()
        after = TwoColoursState(
            time=state.time + 1,
            clock=state.clock + 1,
            agent=agent,
            keys=jnp.where(has_key, -1, state.keys),
            goal=state.goal,
            has_key=has_key,
        )
        return self._observe(after), after, reward, reached, {}

    def is_truncated(self, state: TwoColoursState, params: TwoColoursParams) -> Array:
        """After 100 steps of an episode."""
        return state.time >= params.max_steps_in_episode

    def least_limit(self, params: TwoColoursParams) -> int:
        """Steps between two time limits."""
        return int(params.max_steps_in_episode)

    def right_key(self, state: TwoColoursState, params: TwoColoursParams) -> Array:
        """Index of the key that pays more at the state's clock."""
        return (state.clock // params.swap_every) % 2

    def _observe(self, state: TwoColoursState) -> Array:
        cells = jnp.stack([state.agent, *state.keys, state.goal])
        boards = jax.nn.one_hot(cells, SIZE * SIZE)  # a key that is gone is on no cell
        boards = jnp.concatenate([boards, jnp.full((1, SIZE * SIZE), state.has_key, jnp.float32)])
        return boards.T.reshape((SIZE, SIZE, len(PLANES)))

    def action_space(self, params: TwoColoursParams | None = None) -> spaces.Discrete:
        """Four moves."""
        del params
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: TwoColoursParams) -> spaces.Box:
        """One-hot planes [7, 7, 5]: agent, key A, key B, goal, and whether a key is held."""
        del params
        return spaces.Box(0, 1, (SIZE, SIZE, len(PLANES)), jnp.float32)

    def state_space(self, params: TwoColoursParams) -> spaces.Dict:
        """The fields of `TwoColoursState`; the clock has no end but its integer's."""
        cells, last = SIZE * SIZE, np.iinfo(np.int32).max
        fields = {
            "time": spaces.Box(jnp.int32(0), params.max_steps_in_episode, (), jnp.int32),
            "clock": spaces.Box(jnp.int32(0), last, (), jnp.int32),
            "agent": spaces.Discrete(cells),
            "keys": spaces.Box(-1, cells - 1, (2,), jnp.int32),
            "goal": spaces.Discrete(cells),
            "has_key": spaces.Box(0, 1, (), jnp.bool_),
        }
        return spaces.Dict(fields)


def render(state: TwoColoursState, cell_pixels: int = 24) -> UInt8[np.ndarray, "side side 3"]:
    """One state: green agent, red key A, blue key B, yellow goal; the agent is a smaller square, so
    that a cell under it stays visible."""
    state = jax.device_get(state)
    colours = np.empty((SIZE * SIZE, 3), np.uint8)
    colours[:] = FLOOR
    for cell, colour in zip((*state.keys, state.goal), (KEY_A, KEY_B, GOAL), strict=True):
        if cell >= 0:
            colours[int(cell)] = colour
    image = colours.reshape((SIZE, SIZE, 3)).repeat(cell_pixels, 0).repeat(cell_pixels, 1)
    top, left = (part * cell_pixels for part in divmod(int(state.agent), SIZE))
    inset = max(1, cell_pixels // 4)
    inside = slice(inset, cell_pixels - inset)
    image[top : top + cell_pixels, left : left + cell_pixels][inside, inside] = AGENT
    return image
