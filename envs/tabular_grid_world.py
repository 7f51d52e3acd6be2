"""Grid worlds whose objects keep their cells for a lifetime (Oh et al. 2020, A.1)."""

import dataclasses

import jax
import jax.numpy as jnp
from gymnax.environments import spaces
from jaxtyping import Array

from envs.free_cells import distinct_cells, free_cells
from envs.grid_world import Action, GridWorld
from envs.grid_world_state import GridWorldParams, GridWorldState


class TabularGridWorld(GridWorld):
    """Object cells fixed for a lifetime; observation = cell * 2^n + bits of the present objects."""

    @property
    def num_draws(self) -> int:
        """One an object: whether it comes back, always on its own cell."""
        return self.num_objects

    @property
    def num_states(self) -> int:
        """Rows of a table; by default for every cell with every set of objects."""
        return self._num_states or self.num_cells * 2**self.num_objects

    def count_states(self, params: GridWorldParams) -> Array:
        """The instance's own H * W * 2^n, walls included."""
        num_objects = jnp.sum(params.object_valid, dtype=jnp.int32)
        return params.height * params.width * (1 << num_objects)

    def sample_params(self, key: Array, params: GridWorldParams) -> GridWorldParams:
        """Object cells on distinct free cells, and the action set."""
        key_cells, key_actions = jax.random.split(key)
        uniforms = jax.random.uniform(key_cells, (self.num_objects,), jnp.float32)
        cells = jnp.stack(distinct_cells(free_cells(params.wall), uniforms, self.num_objects))
        params = dataclasses.replace(params, object_cell=cells)
        return self.sample_action_set(key_actions, params)

    def _respawn(
        self,
        uniforms: Array,
        agent_cell: Array,
        state: GridWorldState,
        hit: Array,
        absent_before: Array,
        params: GridWorldParams,
    ) -> tuple[Array, Array]:
        return state.object_cell, absent_before & (uniforms < params.p_respawn)

    def draw_reset(self, key: Array) -> Array:
        """One uniform, for the agent's cell."""
        return jax.random.uniform(key, (), jnp.float32)

    def reset_with(self, uniforms: Array, params: GridWorldParams) -> tuple[Array, GridWorldState]:
        """All objects present, the agent on any free cell, an object's cell included."""
        free = free_cells(params.wall)
        state = GridWorldState(
            time=jnp.int32(0),
            agent_cell=free.cell(free.draw(uniforms)),
            object_cell=jnp.asarray(params.object_cell),
            present=jnp.asarray(params.object_valid),
        )
        return self.observe(None, state, None, params), state

    def observe(
        self, key: Array | None, state: GridWorldState, action: Action, params: GridWorldParams
    ) -> Array:
        """i32 index; n is the instance's own number of objects, bit i is for object i."""
        del key, action
        num_objects = jnp.sum(params.object_valid, dtype=jnp.int32)
        place_values = jnp.left_shift(1, jnp.arange(self.num_objects, dtype=jnp.int32))
        bits = jnp.sum(jnp.where(state.present, place_values, 0), dtype=jnp.int32)
        return (state.agent_cell << num_objects) + bits

    def observation_space(self, params: GridWorldParams) -> spaces.Discrete:
        """Indices of the padded world's states, so that the size is static."""
        del params
        return spaces.Discrete(self.num_states)
