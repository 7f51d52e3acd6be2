"""Grid worlds with objects that are collected and come back (Oh et al. 2020, A.1 and A.2).

A cell's index is row * width + column. Actions 0..8 move to one of the nine cells around and
including the agent's own (index i: row offset i // 3 - 1, column offset i % 3 - 1, so 4 stays);
actions 9..17, where the instance has 18, collect at these offsets without moving.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import environment, spaces
from jaxtyping import Array

from envs.free_cells import NO_RANK, FreeCells, free_cells, insert
from envs.grid_world_state import GridWorldParams, GridWorldState

NUM_MOVES = 9
STAY = 4
Action = Array | int | None  # None where no action led to the state


class GridWorld(environment.Environment[GridWorldState, GridWorldParams]):
    """The law that both kinds share; `num_*` and shapes are static sizes, padded in a cohort."""

    def __init__(
        self, height: int, width: int, num_cells: int, num_objects: int, num_types: int,
        num_actions: int = 18, params: GridWorldParams | None = None,
        num_states: int | None = None,
    ):  # fmt: skip
        """`num_states`: of the largest instance, where sizes are padded to several; by default that
        of `num_cells` and `num_objects`."""
        super().__init__()
        self.height, self.width, self.num_cells = height, width, num_cells
        self.num_objects, self.num_types = num_objects, num_types
        self._num_actions = num_actions
        self._num_states = num_states
        self._params = params
        # By value, so that equal environments share gymnax's compiled `step`.
        leaves = jax.tree.leaves(params)
        self._params_bytes = tuple(np.asarray(leaf).tobytes() for leaf in leaves)

    def _identity(self) -> tuple:
        sizes = (self.height, self.width, self.num_cells, self.num_objects, self.num_types)
        return (type(self), *sizes, self._num_actions, self._num_states, self._params_bytes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GridWorld) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def num_actions(self) -> int:
        return self._num_actions

    @property
    def default_params(self) -> GridWorldParams:
        if self._params is None:
            raise ValueError("A padded grid world has no default params; take them from the suite.")
        return self._params

    def action_mask(self, params: GridWorldParams) -> Array:
        """bool [num_actions]: which of the padded actions the instance has."""
        return jnp.arange(self.num_actions) < params.num_actions

    def sample_action_set(self, key: Array, params: GridWorldParams) -> GridWorldParams:
        """9 or 18 actions with equal probability, for a lifetime; 9 where only 9 have room."""
        eighteen = jax.random.bernoulli(key) & (self.num_actions > NUM_MOVES)
        return dataclasses.replace(params, num_actions=jnp.where(eighteen, 18, 9).astype(jnp.int32))

    def step_env(
        self, key: Array, state: GridWorldState, action: Array | int, params: GridWorldParams
    ) -> tuple[Array, GridWorldState, Array, Array, dict[str, Array]]:
        """Move or collect, pay, draw the end, remove; then the absent *before* may come back."""
        return self.step_with(self.draw_step(key), state, action, params)

    def draw_step(self, key: Array) -> Array:
        """The uniforms of one step: its end, then the respawns."""
        return jax.random.uniform(key, (1 + self.num_draws,), jnp.float32)

    def step_with(
        self, uniforms: Array, state: GridWorldState, action: Array | int, params: GridWorldParams
    ) -> tuple[Array, GridWorldState, Array, Array, dict[str, Array]]:
        """`step_env` on numbers already drawn."""
        agent_cell, collecting_cell = self._act(state.agent_cell, action, params)
        hit = state.present & (state.object_cell == collecting_cell)
        reward = jnp.sum(jnp.where(hit, params.object_reward, 0.0))
        # At most one object stands on a cell, so one draw decides the termination.
        terminated = jnp.any(hit & (uniforms[0] < params.p_terminate))
        absent_before = params.object_valid & ~state.present
        object_cell, back = self._respawn(
            uniforms[1:], agent_cell, state, hit, absent_before, params
        )
        state = GridWorldState(
            time=state.time + 1,
            agent_cell=agent_cell,
            object_cell=object_cell,
            present=(state.present & ~hit) | back,
        )
        observation = self.observe(None, state, action, params)
        discount = jnp.where(terminated, 0.0, 1.0)
        return observation, state, reward, terminated, {"discount": discount}

    def _act(
        self, cell: Array, action: Array | int, params: GridWorldParams
    ) -> tuple[Array, Array]:
        """The agent's new cell, and the cell that is collected from (-1 for none)."""
        action = jnp.where(action < params.num_actions, action, STAY)  # unknown actions stay
        collect = action >= NUM_MOVES
        offset = action % NUM_MOVES
        row = cell // params.width + offset // 3 - 1
        column = cell % params.width + offset % 3 - 1
        inside = (row >= 0) & (row < params.height) & (column >= 0) & (column < params.width)
        target = jnp.where(inside, row * params.width + column, cell)
        free = inside & ~params.wall[target]
        moved = jnp.where(free & ~collect, target, cell)
        only_collects = params.num_actions > NUM_MOVES
        reached = jnp.where(inside, target, -1)
        nothing_or_reached = jnp.where(collect, reached, -1)
        return moved, jnp.where(only_collects, nothing_or_reached, moved)

    def is_terminated(self, state: GridWorldState, params: GridWorldParams) -> Array:
        """Termination is a draw made on collecting; no state is terminal by itself."""
        del params
        return jnp.zeros_like(state.time, bool)

    def action_space(self, params: GridWorldParams | None = None) -> spaces.Discrete:
        """Of static size, so that clients may ask inside jit; see `action_mask` for a 9-set."""
        del params
        return spaces.Discrete(self.num_actions)

    # What the two kinds of worlds differ in.
    num_draws: int

    def _respawn(self, uniforms, agent_cell, state, hit, absent_before, params):
        """New object cells, and which objects come back at this step."""
        raise NotImplementedError

    def sample_params(self, key: Array, params: GridWorldParams) -> GridWorldParams:
        """One lifetime's instance."""
        raise NotImplementedError

    def observe(
        self, key: Array | None, state: GridWorldState, action: Action, params: GridWorldParams
    ) -> Array:
        raise NotImplementedError


def _distinct_cells(free: FreeCells, uniforms: Array, count: int) -> list[Array]:
    """Cells drawn one after the other, each from the free ones that are left."""
    taken, ranks = (), []
    for i in range(count):
        ranks.append(free.draw(uniforms[i], taken))
        taken = insert(taken, ranks[-1])
    return [free.cell(rank) for rank in ranks]


class TabularGridWorld(GridWorld):
    """Object cells fixed for a lifetime; observation = cell * 2^n + bits of the present objects."""

    @property
    def num_draws(self) -> int:
        return self.num_objects

    @property
    def num_states(self) -> int:
        return self._num_states or self.num_cells * 2**self.num_objects

    def count_states(self, params: GridWorldParams) -> Array:
        """The instance's own H * W * 2^n, walls included."""
        num_objects = jnp.sum(params.object_valid, dtype=jnp.int32)
        return params.height * params.width * (1 << num_objects)

    def sample_params(self, key: Array, params: GridWorldParams) -> GridWorldParams:
        """Object cells on distinct free cells, and the action set."""
        key_cells, key_actions = jax.random.split(key)
        uniforms = jax.random.uniform(key_cells, (self.num_objects,), jnp.float32)
        cells = jnp.stack(_distinct_cells(free_cells(params.wall), uniforms, self.num_objects))
        params = dataclasses.replace(params, object_cell=cells)
        return self.sample_action_set(key_actions, params)

    def _respawn(self, uniforms, agent_cell, state, hit, absent_before, params):
        return state.object_cell, absent_before & (uniforms < params.p_respawn)

    def reset_env(self, key: Array, params: GridWorldParams) -> tuple[Array, GridWorldState]:
        """All objects present, the agent on any free cell, an object's cell included."""
        return self.reset_with(self.draw_reset(key), params)

    def draw_reset(self, key: Array) -> Array:
        return jax.random.uniform(key, (), jnp.float32)

    def reset_with(self, uniform: Array, params: GridWorldParams) -> tuple[Array, GridWorldState]:
        """`reset_env` on a number already drawn."""
        free = free_cells(params.wall)
        state = GridWorldState(
            time=jnp.int32(0),
            agent_cell=free.cell(free.draw(uniform)),
            object_cell=jnp.asarray(params.object_cell),
            present=jnp.asarray(params.object_valid),
        )
        return self.observe(None, state, None, params), state

    def observe(
        self, key: Array | None, state: GridWorldState, action: Action, params: GridWorldParams
    ) -> Array:
        del key, action
        num_objects = jnp.sum(params.object_valid, dtype=jnp.int32)
        place_values = jnp.left_shift(1, jnp.arange(self.num_objects, dtype=jnp.int32))
        bits = jnp.sum(jnp.where(state.present, place_values, 0), dtype=jnp.int32)
        return (state.agent_cell << num_objects) + bits

    def observation_space(self, params: GridWorldParams) -> spaces.Discrete:
        del params
        return spaces.Discrete(self.num_states)


class RandomGridWorld(GridWorld):
    """Objects redrawn every episode and on coming back; observation {0,1}^{(1+types) x H x W}.

    Plane 0 shows the agent (without it the world could not be solved), plane 1+k the objects of
    type k.
    """

    @property
    def num_draws(self) -> int:
        return 2 * self.num_objects

    def sample_params(self, key: Array, params: GridWorldParams) -> GridWorldParams:
        return self.sample_action_set(key, params)

    def _respawn(self, uniforms, agent_cell, state, hit, absent_before, params):
        """Objects come back on random cells that hold neither the agent nor another object."""
        # Two draws an object, side by side, so that padding leaves the others' draws alone.
        chance, place = uniforms.reshape((self.num_objects, 2)).T
        back = absent_before & (chance < params.p_respawn)
        free = free_cells(params.wall)
        staying = jnp.where(state.present & ~hit, free.rank(state.object_cell), NO_RANK)
        # With 18 actions the agent may stand on an object, whose rank must not count twice.
        agent = free.rank(agent_cell)
        agent = jnp.where(jnp.any(staying == agent), NO_RANK, agent)
        taken, cells = (agent,), []
        for i in range(self.num_objects):
            taken = insert(taken, staying[i])
        for i in range(self.num_objects):
            rank = free.draw(place[i], taken)
            # Who comes back was absent, so that one of them is at the end and makes room.
            taken = insert(taken, jnp.where(back[i], rank, NO_RANK))[:-1]
            cells.append(jnp.where(back[i], free.cell(rank), state.object_cell[i]))
        return jnp.stack(cells), back

    def reset_env(self, key: Array, params: GridWorldParams) -> tuple[Array, GridWorldState]:
        """Agent and objects on distinct free cells."""
        return self.reset_with(self.draw_reset(key), params)

    def draw_reset(self, key: Array) -> Array:
        return jax.random.uniform(key, (1 + self.num_objects,), jnp.float32)

    def reset_with(self, uniforms: Array, params: GridWorldParams) -> tuple[Array, GridWorldState]:
        """`reset_env` on numbers already drawn."""
        # Padded objects come last and disturb none.
        count = 1 + self.num_objects
        agent_cell, *cells = _distinct_cells(free_cells(params.wall), uniforms, count)
        state = GridWorldState(
            time=jnp.int32(0),
            agent_cell=agent_cell,
            object_cell=jnp.stack(cells),
            present=jnp.asarray(params.object_valid),
        )
        return self.observe(None, state, None, params), state

    def observe(
        self, key: Array | None, state: GridWorldState, action: Action, params: GridWorldParams
    ) -> Array:
        del key, action
        cells = jnp.arange(self.num_cells, dtype=jnp.int32)[None]
        kinds = jnp.arange(self.num_types, dtype=jnp.int32)[:, None]
        objects = jnp.zeros((self.num_types, self.num_cells), bool)
        # Comparisons, not scatters: XLA fuses them into one kernel.
        for i in range(self.num_objects):
            here = state.present[i] & (cells == state.object_cell[i])
            objects |= here & (kinds == params.object_type[i])
        planes = jnp.concatenate([cells == state.agent_cell, objects]).astype(jnp.uint8)
        return planes.reshape((1 + self.num_types, self.height, self.width))

    def observation_space(self, params: GridWorldParams) -> spaces.Box:
        del params
        shape = (1 + self.num_types, self.height, self.width)
        return spaces.Box(0, 1, shape, dtype=jnp.uint8)
