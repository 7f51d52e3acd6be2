"""IMPALA's deep residual network on Atari's screens (Espeholt et al. 2018, figure 3)."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from lpg.agent import Condition
from lpg.agents.nature_network import ScreenAgent
from lpg.agents.output_heads import output_heads
from lpg.agents.screens import Conv
from lpg.heads import Heads

CHANNELS = (16, 32, 32)
FEATURES = 256


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        y = x
        for _ in range(2):
            y = Conv(self.channels, (3, 3))(nn.relu(y))
        return x + y


class ResNetTorso(nn.Module):
    """Three sections, each a convolution, a pool that halves and two residual blocks; then a dense
    layer of 256. 1,089,232 parameters without heads."""

    heads: Heads

    @nn.compact
    def __call__(
        self, screen: UInt8[Array, "n 4 84 84"], condition: Condition = None
    ) -> Float[Array, "n out"]:
        x = jnp.moveaxis(screen, 1, -1).astype(jnp.float32) / 255.0
        for channels in CHANNELS:
            x = Conv(channels, (3, 3))(x)
            x = nn.max_pool(x, (3, 3), (2, 2), padding="SAME")
            for _ in range(2):
                x = ResidualBlock(channels)(x)
        x = nn.relu(x).reshape((x.shape[0], -1))
        return output_heads(nn.relu(nn.Dense(FEATURES)(x)), self.heads, condition)


class ResNetAgent(ScreenAgent):
    """IMPALA's and its kin's."""

    torso_class = ResNetTorso
