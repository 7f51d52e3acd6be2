"""The Atari agent C(32)-C(64)-C(64)-D(512) (Mnih et al. 2015; Oh et al. 2020, Table 4)."""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from lpg.agent import AgentParams
from lpg.agents.network import Network
from lpg.heads import Heads

SCREEN = (4, 84, 84)  # four grey frames, newest last


class AtariTorso(nn.Module):
    """Screens of bytes, scaled to [0, 1], to one vector that holds all heads."""

    num_outputs: int

    @nn.compact
    def __call__(self, screen: UInt8[Array, "n 4 84 84"]) -> Float[Array, "n out"]:
        x = jnp.moveaxis(screen, 1, -1).astype(jnp.float32) / 255.0
        for features, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
            conv = nn.Conv(features, (kernel, kernel), (stride, stride), padding="VALID")
            x = nn.relu(conv(x))
        x = nn.relu(nn.Dense(512)(x.reshape((x.shape[0], -1))))
        return nn.Dense(self.num_outputs, name="heads")(x)


@dataclass(frozen=True)
class AtariAgent(Network):
    """An `Agent` of one lifetime; not meant for vmap (its convolutions are XLA's own)."""

    heads: Heads

    @property
    def convolutional(self) -> bool:
        """Yes."""
        return True

    @property
    def torso(self) -> AtariTorso:
        """The flax module whose parameters are theta."""
        return AtariTorso(self.heads.total)

    def init(self, key: Array, num_states: Array) -> AgentParams:
        """By one black screen; `num_states` plays no part."""
        del num_states  # a table's business
        return self.torso.init(key, jnp.zeros((1, *SCREEN), jnp.uint8))["params"]

    def apply(self, params: AgentParams, observation: Array) -> Array:
        """Screens u8 [*batch, 4, 84, 84], all in one batch for the torso."""
        batch = observation.shape[:-3]
        flat = observation.reshape((-1, *SCREEN))
        outputs = jnp.asarray(self.torso.apply({"params": params}, flat))
        return outputs.reshape((*batch, self.heads.total))
