"""The Atari agent C(32)-C(64)-C(64)-D(512) (Mnih et al. 2015; Oh et al. 2020, Table 4)."""

from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from lpg.agent import AgentParams, Condition
from lpg.agents.network import Network
from lpg.agents.output_heads import blank_condition, output_heads
from lpg.agents.screens import Conv
from lpg.heads import Heads

SCREEN = (4, 84, 84)  # four grey frames, newest last


class AtariTorso(nn.Module):
    """Screens of bytes, scaled to [0, 1], to one vector that holds all heads."""

    heads: Heads

    @nn.compact
    def __call__(
        self, screen: UInt8[Array, "n 4 84 84"], condition: Condition = None
    ) -> Float[Array, "n out"]:
        x = jnp.moveaxis(screen, 1, -1).astype(jnp.float32) / 255.0
        for features, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
            conv = Conv(features, (kernel, kernel), (stride, stride), padding="VALID")
            x = nn.relu(conv(x))
        x = nn.relu(nn.Dense(512)(x.reshape((x.shape[0], -1))))
        return output_heads(x, self.heads, condition)


@dataclass(frozen=True)
class ScreenAgent(Network):
    """An `Agent` of one lifetime that reads screens; not meant for vmap (its convolutions are
    XLA's own)."""

    heads: Heads
    torso_class: ClassVar[type[nn.Module]]

    @property
    def torso(self) -> nn.Module:
        """The flax module whose parameters are theta."""
        return self.torso_class(self.heads)

    @property
    def convolutional(self) -> bool:
        """Yes."""
        return True

    def init(self, key: Array, num_states: Array) -> AgentParams:
        """By one black screen; `num_states` plays no part."""
        del num_states  # a table's business
        screen = jnp.zeros((1, *SCREEN), jnp.uint8)
        return self.torso.init(key, screen, blank_condition(self.heads))["params"]

    def apply(self, params: AgentParams, observation: Array, condition: Condition = None) -> Array:
        """Screens u8 [*batch, 4, 84, 84], all in one batch for the torso."""
        batch = observation.shape[:-3]
        flat = observation.reshape((-1, *SCREEN))
        outputs = jnp.asarray(self.torso.apply({"params": params}, flat, condition))
        return outputs.reshape((*batch, self.heads.total))


class AtariAgent(ScreenAgent):
    """The published one."""

    torso_class = AtariTorso
