"""What describes one grid world, and what changes while it is lived in."""

from typing import Any

from flax import struct
from gymnax.environments import environment


@struct.dataclass
class GridWorldParams(environment.EnvParams):
    """One instance; padded objects have `object_valid` False, padded cells are walls."""

    height: Any = 1
    width: Any = 1
    wall: Any = None  # bool [max_cells]
    object_reward: Any = None  # f32 [N]
    p_terminate: Any = None  # f32 [N]
    p_respawn: Any = None  # f32 [N]
    object_valid: Any = None  # bool [N]
    object_type: Any = None  # i32 [N], row of the published object list
    object_cell: Any = None  # i32 [N], tabular worlds: fixed for the lifetime
    num_actions: Any = 9  # 9 or 18
    max_steps_in_episode: Any = 500


@struct.dataclass
class GridWorldState(environment.EnvState):
    """The agent and N objects at one step; padded objects are never present."""

    time: Any  # i32
    agent_cell: Any  # i32
    object_cell: Any  # i32 [N]
    present: Any  # bool [N]
