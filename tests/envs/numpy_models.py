"""Independent NumPy models of the suite, typed from the paper's tables, as oracles for the tests.

Source: Oh et al. 2020, appendix A.1 (tabular), A.2 (random) and A.3 (delayed chains). Nothing here
is imported from the package under test.
"""

from typing import NamedTuple

import numpy as np


class Grid(NamedTuple):
    """`objects` holds one (reward, p_terminate, p_respawn, type) an object; `picture` the walls."""

    kind: str
    objects: tuple[tuple[float, float, float, int], ...]
    max_steps: int
    picture: tuple[str, ...]  # '#' is a wall, '.' is free; the outer border is not drawn

    @property
    def height(self) -> int:
        return len(self.picture)

    @property
    def width(self) -> int:
        return len(self.picture[0])

    @property
    def num_types(self) -> int:
        return 1 + max(kind for *_, kind in self.objects)

    def is_free(self, row: int, column: int) -> bool:
        inside = 0 <= row < self.height and 0 <= column < self.width
        return inside and self.picture[row][column] == "."

    def free_cells(self) -> list[int]:
        cells = [(r, c) for r in range(self.height) for c in range(self.width)]
        return [r * self.width + c for r, c in cells if self.is_free(r, c)]


def _open(height: int, width: int) -> tuple[str, ...]:
    return ("." * width,) * height


_DENSE = (
    (1.0, 0.0, 0.05, 0),
    (1.0, 0.0, 0.05, 0),
    (-1.0, 0.5, 0.1, 1),
    (-1.0, 0.0, 0.5, 2),
)
_LONG_HORIZON = (
    (1.0, 0.0, 0.01, 0),
    (1.0, 0.0, 0.01, 0),
    (-1.0, 0.5, 1.0, 1),
    (-1.0, 0.5, 1.0, 1),
)
GRIDS = {
    "dense": Grid("tabular", _DENSE, 500, _open(11, 11)),
    "sparse": Grid("tabular", ((1.0, 1.0, 0.0, 0), (-1.0, 1.0, 0.0, 1)), 50, _open(13, 13)),
    "long_horizon": Grid("tabular", _LONG_HORIZON, 1000, _open(11, 11)),
    "longer_horizon": Grid(
        "tabular",
        (
            (1.0, 0.1, 0.01, 0),
            (1.0, 0.1, 0.01, 0),
            (-1.0, 0.8, 1.0, 1),
            (-1.0, 0.8, 1.0, 1),
            (-1.0, 0.8, 1.0, 1),
            (-1.0, 0.8, 1.0, 1),
            (-1.0, 0.8, 1.0, 1),
        ),
        2000,
        (
            "....#....",
            ".........",
            "....#....",
            "...###...",
            "....#....",
            ".........",
            "....#....",
        ),
    ),
    "long_dense": Grid(
        "tabular",
        ((1.0, 0.0, 0.005, 0),) * 4,
        2000,
        (
            "...........",
            ".....#.....",
            ".....#.....",
            ".....#.....",
            "##.#####.##",
            ".....#.....",
            ".....#.....",
            "...........",
            ".....#.....",
            ".....#.....",
            ".....#.....",
        ),
    ),
    "rand_dense": Grid("random", _DENSE, 500, _open(11, 11)),
    "rand_long_horizon": Grid("random", _LONG_HORIZON, 1000, _open(11, 11)),
    "rand_small": Grid(
        "random",
        (
            (1.0, 0.0, 0.05, 0),
            (1.0, 0.0, 0.05, 0),
            (-1.0, 0.5, 0.1, 1),
            (-1.0, 0.5, 0.1, 1),
        ),
        500,
        (
            ".......",
            "..#....",
            ".......",
            "....#..",
            ".......",
        ),
    ),
    "rand_sparse": Grid(
        "random",
        ((1.0, 1.0, 1.0, 0), (-1.0, 1.0, 1.0, 1), (-1.0, 1.0, 1.0, 1)),
        50,
        _open(5, 7),
    ),
    "rand_very_dense": Grid("random", ((1.0, 0.0, 1.0, 0),), 2000, _open(11, 11)),
}
TABULAR = tuple(name for name, grid in GRIDS.items() if grid.kind == "tabular")
RANDOM = tuple(name for name, grid in GRIDS.items() if grid.kind == "random")
# Published table sizes (appendix A.1), cells with walls counted times 2^objects.
TABLE_SIZES = {
    "dense": 1936,
    "sparse": 676,
    "long_horizon": 1936,
    "longer_horizon": 8064,
    "long_dense": 1936,
}

# Offsets (row, column) of the nine moves and, nine places on, of the nine collects.
OFFSETS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 0), (0, 1), (1, -1), (1, 0), (1, 1))


class GridOutcome(NamedTuple):
    agent: int
    collected: int  # index of the object, -1 for none
    reward: float


def grid_outcome(
    grid: Grid, agent: int, cells: list[int], present: list[bool], action: int, num_actions: int
) -> GridOutcome:
    """What a step does before its random draws."""
    row, column = divmod(agent, grid.width)
    if action >= num_actions:
        action = 4
    d_row, d_column = OFFSETS[action % 9]
    row_to, column_to = row + d_row, column + d_column
    reachable = grid.is_free(row_to, column_to)
    after = agent
    if action < 9 and reachable:
        after = row_to * grid.width + column_to
    touched = None
    if num_actions == 9:
        touched = after
    elif action >= 9 and reachable:
        touched = row_to * grid.width + column_to
    for i, (cell, there) in enumerate(zip(cells, present, strict=True)):
        if there and cell == touched:
            return GridOutcome(after, i, grid.objects[i][0])
    return GridOutcome(after, -1, 0.0)


def tabular_index(agent: int, present: list[bool]) -> int:
    """Cell index, then one binary digit an object, the first object's the lowest."""
    digits = "".join("1" if there else "0" for there in reversed(present))
    return int(digits, 2) + agent * 2 ** len(present)


def planes(grid: Grid, agent: int, cells: list[int], present: list[bool]) -> np.ndarray:
    """Agent plane, then one plane a type of object."""
    image = np.zeros((1 + grid.num_types, grid.height, grid.width), np.uint8)
    image[0][divmod(agent, grid.width)] = 1
    for cell, there, (*_, kind) in zip(cells, present, grid.objects, strict=True):
        if there:
            image[1 + kind][divmod(cell, grid.width)] = 1
    return image


class Chain(NamedTuple):
    shortest: int
    longest: int
    noisy: bool


CHAINS = {
    "short": Chain(5, 30, False),
    "short_noisy": Chain(5, 30, True),
    "long": Chain(5, 50, False),
    "long_noisy": Chain(5, 50, True),
    "distractor": Chain(5, 30, False),
}
INDEX_CHAINS = ("short", "short_noisy", "long", "long_noisy")


class ChainStep(NamedTuple):
    observation: int  # index before the action
    reward: float | None  # None: +1 or -1 by a fair coin
    terminated: bool


def chain_index(length: int, time: int, correct: int, chose_correctly: int) -> int:
    """Position of the state in a list of all 4L - 2, in the order in which they are written."""
    states = []
    for c in (0, 1):
        states.append((c, 0, 0))
        for t in range(1, length):
            states.extend([(c, t, 0), (c, t, 1)])
    assert len(states) == 4 * length - 2
    return states.index((correct, time, chose_correctly))


def chain_episode(length: int, noisy: bool, correct: int, actions: list[int]) -> list[ChainStep]:
    """A whole episode; steps count from 1, and steps 2 .. L-1 are noisy."""
    chose = int(actions[0] == correct)
    steps = []
    for number in range(1, length + 1):
        index = chain_index(length, number - 1, correct, chose if number > 1 else 0)
        if number == length:
            steps.append(ChainStep(index, 1.0 if chose else -1.0, True))
        elif noisy and number > 1:
            steps.append(ChainStep(index, None, False))
        else:
            steps.append(ChainStep(index, 0.0, False))
    return steps
