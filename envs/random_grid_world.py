"""Grid worlds whose objects are redrawn every episode (Oh et al. 2020, A.2)."""

import jax
import jax.numpy as jnp
from gymnax.environments import spaces
from jaxtyping import Array

from envs.free_cells import NO_RANK, distinct_cells, free_cells, insert
from envs.grid_world import Action, GridWorld
from envs.grid_world_state import GridWorldParams, GridWorldState


class RandomGridWorld(GridWorld):
    """Objects redrawn every episode and on coming back; observation {0,1}^{(1+types) x H x W}.

    Plane 0 shows the agent (without it the world could not be solved), plane 1+k the objects of
    type k.
    """

    @property
    def num_draws(self) -> int:
        """Two an object: whether it comes back, and where."""
        return 2 * self.num_objects

    def sample_params(self, key: Array, params: GridWorldParams) -> GridWorldParams:
        """Only the action set lasts a lifetime; cells last an episode."""
        return self.sample_action_set(key, params)

    def _respawn(
        self,
        uniforms: Array,
        agent_cell: Array,
        state: GridWorldState,
        hit: Array,
        absent_before: Array,
        params: GridWorldParams,
    ) -> tuple[Array, Array]:
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

    def draw_reset(self, key: Array) -> Array:
        """One uniform for the agent's cell, then one for each object's."""
        return jax.random.uniform(key, (1 + self.num_objects,), jnp.float32)

    def reset_with(self, uniforms: Array, params: GridWorldParams) -> tuple[Array, GridWorldState]:
        """Agent and objects on distinct free cells."""
        # Padded objects come last and disturb none.
        count = 1 + self.num_objects
        agent_cell, *cells = distinct_cells(free_cells(params.wall), uniforms, count)
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
        """u8 [1 + types, H, W], by the padded number of types."""
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
        """A box of bits, in as many planes as `observe` fills."""
        del params
        shape = (1 + self.num_types, self.height, self.width)
        return spaces.Box(0, 1, shape, dtype=jnp.uint8)
