"""Agents of Table 3 (Oh et al. 2020): tables, and ReLU networks with a shared torso.

An agent maps observations to one vector that `split_heads` cuts into what the rule asked for.
All are written for one lifetime; vmapped over lifetimes every layer is a batched matmul.
"""

import re
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from lpg.convolution import Conv3x3, DenseOnBoards
from lpg.rule import AgentOutputs, Heads

AgentParams = Any  # theta


@runtime_checkable
class Agent(Protocol):
    """`apply` takes observations with any leading axes and returns [*batch, heads.total]."""

    @property
    def heads(self) -> Heads: ...

    def init(self, key: Array, num_states: Array) -> AgentParams: ...

    def apply(self, params: AgentParams, observation: Array) -> Array: ...


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

    def apply(self, params: AgentParams, observation: Array) -> Array:
        return jnp.take(params, observation, axis=0, mode="clip")


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


def _read_rows_forward(table: Array, cells: Array):
    return read_rows(table, cells), cells


def _read_rows_backward(cells: Array, bars: tuple[Array, Array]) -> tuple[Array, None]:
    rows_bar, table_bar = bars
    return table_bar.at[cells].add(rows_bar, mode="clip"), None


read_rows.defvjp(_read_rows_forward, _read_rows_backward)


class Torso(nn.Module):
    """Convolutions, dense layers, and one linear layer that holds all heads."""

    conv_features: tuple[int, ...]
    dense_features: tuple[int, ...]
    num_outputs: int

    @nn.compact
    def __call__(self, x: Float[Array, "n *obs"]) -> Float[Array, "n out"]:
        first, *others = self.dense_features
        if self.conv_features:
            x = jnp.moveaxis(x, 1, -1)
            for i, features in enumerate(self.conv_features):
                x = nn.relu(Conv3x3(features, name=f"conv{i}")(x))
            x = nn.relu(DenseOnBoards(first, name="dense0")(x))
        else:
            x = nn.relu(nn.Dense(first, name="dense0")(x.reshape((x.shape[0], -1))))
        for i, features in enumerate(others, start=1):
            x = nn.relu(nn.Dense(features, name=f"dense{i}")(x))
        return nn.Dense(self.num_outputs, name="heads")(x)


@dataclass(frozen=True)
class NetworkAgent:
    """A network such as C(16)-D(32); convolutions read planes [C, H, W], dense layers anything."""

    heads: Heads
    observation_shape: tuple[int, ...]
    conv_features: tuple[int, ...]
    dense_features: tuple[int, ...]

    @property
    def torso(self) -> Torso:
        return Torso(self.conv_features, self.dense_features, self.heads.total)

    def init(self, key: Array, num_states: Array) -> AgentParams:
        del num_states  # a table's business
        return self.torso.init(key, jnp.zeros((1, *self.observation_shape)))["params"]

    def apply(self, params: AgentParams, observation: Array) -> Array:
        dtype = jax.tree.leaves(params)[0].dtype
        batch = observation.shape[: observation.ndim - len(self.observation_shape)]
        flat = observation.reshape((-1, *self.observation_shape)).astype(dtype)
        outputs = jnp.asarray(self.torso.apply({"params": params}, flat))
        return outputs.reshape((*batch, self.heads.total))


def make_agent(
    architecture: str,
    heads: Heads,
    *,
    num_states: int = 0,
    observation_shape: tuple[int, ...] = (),
) -> Agent:
    """The agent that `architecture` names in Table 3's notation.

    'table', 'D(32)', 'C(16)-D(32)', 'C(32-16-16)-D(256)': C(..) convolutional filters per layer,
    D(..) dense units per layer. Raises ValueError for anything else.
    """
    if architecture == "table":
        if num_states < 1:
            raise ValueError("A table agent needs integer observations with at least one state.")
        return TableAgent(heads, num_states)
    match = re.fullmatch(r"(?:C\(([\d-]+)\)-)?D\(([\d-]+)\)", architecture)
    if not match:
        raise ValueError(
            f"Unknown agent {architecture!r}; write 'table', 'D(32)' or 'C(16)-D(32)'."
        )
    conv, dense = (
        tuple(int(n) for n in part.split("-")) if part else () for part in match.groups()
    )
    return NetworkAgent(heads, observation_shape, conv, dense)


def split_heads(heads: Heads, vector: Shaped[Array, "*batch n"]) -> AgentOutputs:
    """Cut the agent's output vector into logits, prediction and value."""
    first, second = heads.logits, heads.logits + heads.prediction
    return AgentOutputs(
        logits=vector[..., :first],
        prediction=vector[..., first:second],
        value=vector[..., second:],
    )
