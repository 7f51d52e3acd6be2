"""A table: one row of logits a state (Oh et al. 2020, Table 3)."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lpg.agent import AgentParams, Condition, VectorLoss, descent
from lpg.heads import Heads


@dataclass(frozen=True)
class TableAgent:
    """One row of logits a state; observations are integer state indices."""

    heads: Heads
    num_states: int  # rows, padded to the cohort's largest environment

    def init(self, key: Array, num_states: Array) -> AgentParams:
        """Rows as a one-hot input to a linear layer would have: std 1/sqrt(S), S the own states.

        The value column starts at 0, as a critic that promises nothing.
        """
        scale = 1.0 / jnp.sqrt(jnp.asarray(num_states, jnp.float32))
        width = self.heads.logits + self.heads.prediction
        drawn = scale * jax.random.normal(key, (self.num_states, width))
        return jnp.pad(drawn, ((0, 0), (0, self.heads.value)))

    @property
    def sparse(self) -> bool:
        """Yes: only rows of states visited are read and written."""
        return True

    @property
    def convolutional(self) -> bool:
        """No: rows are all there is."""
        return False

    def apply(self, params: AgentParams, observation: Array, condition: Condition = None) -> Array:
        """The rows at integer observations; indices out of range are clipped."""
        del condition  # a table's rows cannot depend on it; `make_agent` refuses
        return jnp.take(params, observation, axis=0, mode="clip")

    def acting(self, params: AgentParams, condition: Condition = None) -> Callable[[Array], Array]:
        """`apply` as it is."""
        del condition
        return lambda observation: self.apply(params, observation)

    def read(self, params: AgentParams, observation: Array) -> tuple[Array, AgentParams]:
        """By `read_rows`, so that no gradient of the table's size is made."""
        return read_rows(params, observation)

    def step_rows(
        self,
        params: AgentParams,
        observation: Array,
        loss: VectorLoss,
        learning_rate: Float[Array, ""],
    ) -> AgentParams:
        """Writes the rows visited and no others."""
        rows, params = read_rows(params, observation)
        return self.write(params, observation, descent(rows, loss, learning_rate))

    def write(self, params: AgentParams, observation: Array, steps: Array) -> AgentParams:
        """Adds `steps` to the rows at `observation`, to a row seen twice both."""
        return params.at[observation].add(steps, mode="clip")


@jax.custom_vjp
def read_rows(
    table: Float[Array, "S n"], cells: Int[Array, "*batch"]
) -> tuple[Float[Array, "*batch n"], Float[Array, "S n"]]:
    """The table's rows at `cells`, and the table to go on with.

    Who goes on with that table has the rows' gradient added to the table's own, row by row. Read
    beside further uses, a table would get a gradient of zeros the size of the table, and two passes
    over it to fill it in and add it up.
    """
    return jnp.take(table, cells, axis=0, mode="clip"), table


def _read_rows_forward(table: Array, cells: Array) -> tuple[tuple[Array, Array], Array]:
    return read_rows(table, cells), cells


def _read_rows_backward(cells: Array, bars: tuple[Array, Array]) -> tuple[Array, None]:
    rows_bar, table_bar = bars
    return table_bar.at[cells].add(rows_bar, mode="clip"), None


read_rows.defvjp(_read_rows_forward, _read_rows_backward)
