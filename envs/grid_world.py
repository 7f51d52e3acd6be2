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

from envs.grid_world_state import GridWorldParams, GridWorldState

NUM_MOVES = 9
STAY = 4
Action = Array | int | None  # None where no action led to the state


class GridWorld(environment.Environment[GridWorldState, GridWorldParams]):
    """The law that both kinds share; `num_*` and shapes are static sizes, padded in a cohort."""

    def __init__(
        self,
        height: int,
        width: int,
        num_cells: int,
        num_objects: int,
        num_types: int,
        num_actions: int = 18,
        params: GridWorldParams | None = None,
        num_states: int | None = None,
    ):
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
        """The class's own, whatever the sizes."""
        return type(self).__name__

    @property
    def num_actions(self) -> int:
        """Static and padded: an instance may have fewer (`action_mask`)."""
        return self._num_actions

    @property
    def default_params(self) -> GridWorldParams:
        """What the world was built with; raises ValueError where that was nothing."""
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

    def state_space(self, params: GridWorldParams) -> spaces.Dict:
        """The fields of `GridWorldState`, by the padded world's sizes; steps by the params' own
        limit, which need not be static."""
        objects = (self.num_objects,)
        fields = {
            "time": spaces.Box(jnp.int32(0), params.max_steps_in_episode, (), jnp.int32),
            "agent_cell": spaces.Discrete(self.num_cells),
            "object_cell": spaces.Box(0, self.num_cells - 1, objects, jnp.int32),
            "present": spaces.Box(0, 1, objects, jnp.bool_),
        }
        return spaces.Dict(fields)

    def reset_env(self, key: Array, params: GridWorldParams) -> tuple[Array, GridWorldState]:
        """The first state of an episode, by `reset_with`."""
        return self.reset_with(self.draw_reset(key), params)

    # What the two kinds of worlds differ in.
    num_draws: int

    def draw_reset(self, key: Array) -> Array:
        """The uniforms of one reset."""
        raise NotImplementedError

    def reset_with(self, uniforms: Array, params: GridWorldParams) -> tuple[Array, GridWorldState]:
        """`reset_env` on numbers already drawn."""
        raise NotImplementedError

    def _respawn(
        self,
        uniforms: Array,
        agent_cell: Array,
        state: GridWorldState,
        hit: Array,
        absent_before: Array,
        params: GridWorldParams,
    ) -> tuple[Array, Array]:
        """New object cells, and which objects come back at this step."""
        raise NotImplementedError

    def least_limit(self, params: GridWorldParams) -> int:
        """Steps between two time limits, of all whose params are stacked."""
        return int(np.min(params.max_steps_in_episode))

    def sample_params(self, key: Array, params: GridWorldParams) -> GridWorldParams:
        """One lifetime's instance."""
        raise NotImplementedError

    def observe(
        self, key: Array | None, state: GridWorldState, action: Action, params: GridWorldParams
    ) -> Array:
        """A state as its kind of world shows it; neither key nor action matters."""
        raise NotImplementedError
