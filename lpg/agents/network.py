"""ReLU networks with a shared torso, such as C(16)-D(32) (Oh et al. 2020, Table 3).

Written for one lifetime; vmapped over lifetimes every layer is a batched matmul.
"""

from collections.abc import Callable
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from lpg.agent import AgentParams, Condition, VectorLoss
from lpg.agents.convolution import Conv3x3, DenseOnBoards, fixed_boards
from lpg.agents.output_heads import blank_condition, output_heads
from lpg.heads import Heads
from lpg.platform import platform
from lpg.precision import Precision, is_narrow

FirstLayers = Callable[[Array], Array]


class Torso(nn.Module):
    """Convolutions, dense layers, and the heads."""

    conv_features: tuple[int, ...]
    dense_features: tuple[int, ...]
    heads: Heads

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "n *obs"],
        condition: Condition = None,
        first_layers: FirstLayers | None = None,
    ) -> Float[Array, "n out"]:
        """`first_layers`: in place of those that read boards, up to the first dense one's ReLU."""
        first, *others = self.dense_features
        if self.conv_features:
            x = jnp.moveaxis(x, 1, -1)
        if first_layers is not None:
            x = first_layers(x)
        elif self.conv_features:
            for i, features in enumerate(self.conv_features):
                x = nn.relu(Conv3x3(features, name=f"conv{i}")(x))
            x = nn.relu(DenseOnBoards(first, name="dense0")(x))
        else:
            x = nn.relu(nn.Dense(first, name="dense0")(x.reshape((x.shape[0], -1))))
        for i, features in enumerate(others, start=1):
            x = nn.relu(nn.Dense(features, name=f"dense{i}")(x))
        return output_heads(x, self.heads, condition)


class Network:
    """Mixin: reading and stepping that concern all weights."""

    apply: Callable[..., Array]

    @property
    def sparse(self) -> bool:
        """No: every observation touches all weights."""
        return False

    def acting(self, params: AgentParams, condition: Condition = None) -> Callable[[Array], Array]:
        """`apply` as it is."""
        return lambda observation: self.apply(params, observation, condition)

    def read(self, params: AgentParams, observation: Array) -> tuple[Array, AgentParams]:
        """The parameters as they are: their gradient is dense in any case."""
        return self.apply(params, observation), params

    def step_rows(
        self,
        params: AgentParams,
        observation: Array,
        loss: VectorLoss,
        learning_rate: Float[Array, ""],
    ) -> AgentParams:
        """Raises TypeError: a network has no rows to pick, and its steps are an optimiser's."""
        raise TypeError("A network has no rows to step.")

    def write(self, params: AgentParams, observation: Array, steps: Array) -> AgentParams:
        """Raises TypeError: a network's vectors are not its parameters."""
        raise TypeError("A network has no rows to write.")


@dataclass(frozen=True)
class NetworkAgent(Network):
    """A network such as C(16)-D(32); convolutions read planes [C, H, W], dense layers anything."""

    heads: Heads
    observation_shape: tuple[int, ...]
    conv_features: tuple[int, ...]
    dense_features: tuple[int, ...]
    # Of boards between layers, their cotangents and the operands of products with them. Parameters
    # and their gradients are float32, and on a CPU, which has no narrow products, so are boards.
    precision: Precision = "float32"

    @property
    def convolutional(self) -> bool:
        """Where there are convolutions."""
        return bool(self.conv_features)

    @property
    def torso(self) -> Torso:
        """The flax module whose parameters are theta."""
        return Torso(self.conv_features, self.dense_features, self.heads)

    def init(self, key: Array, num_states: Array) -> AgentParams:
        """By one observation of zeros; `num_states` plays no part."""
        del num_states  # a table's business
        observation = jnp.zeros((1, *self.observation_shape))
        return self.torso.init(key, observation, blank_condition(self.heads))["params"]

    def apply(self, params: AgentParams, observation: Array, condition: Condition = None) -> Array:
        """All observations in one batch for the torso."""
        return self._apply(params, observation, condition, None)

    def acting(self, params: AgentParams, condition: Condition = None) -> Callable[[Array], Array]:
        """On accelerators the operands of products with boards are made once."""
        layers = None
        if self.conv_features and platform() != "cpu":
            channels, height, width = self.observation_shape
            layers = fixed_boards(params, (height, width, channels), self._dtype(params))
        return lambda observation: self._apply(params, observation, condition, layers)

    def _apply(
        self,
        params: AgentParams,
        observation: Array,
        condition: Condition,
        first_layers: FirstLayers | None,
    ) -> Array:
        batch = observation.shape[: observation.ndim - len(self.observation_shape)]
        flat = observation.reshape((-1, *self.observation_shape)).astype(self._dtype(params))
        outputs = jnp.asarray(self.torso.apply({"params": params}, flat, condition, first_layers))
        return outputs.reshape((*batch, self.heads.total))

    def _dtype(self, params: AgentParams) -> DTypeLike:
        """Of observations: the boards' or the parameters'."""
        narrow = self.conv_features and is_narrow(self.precision) and platform() != "cpu"
        return jnp.bfloat16 if narrow else jax.tree.leaves(params)[0].dtype
