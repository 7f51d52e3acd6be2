"""The LPG network: a backward LSTM from a trajectory to (pi_hat, y_hat).

Source: Oh et al. 2020, section 3.1 and appendix B.1. With the published sizes it has 277,792
parameters.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lpg.rule import RuleInputs

NUM_INPUTS = 6  # r, d, gamma, pi(a|s), phi(y_t), phi(y_{t+1})


class PredictionEmbedding(nn.Module):
    """phi: the prediction vector y (a distribution over m categories) to a scalar."""

    width: int

    @nn.compact
    def __call__(self, y: Float[Array, "*batch m"]) -> Float[Array, "*batch"]:
        hidden = nn.relu(nn.Dense(self.width, name="hidden", dtype=y.dtype)(y))
        return nn.Dense(1, name="out", dtype=y.dtype)(hidden)[..., 0]


def forget_bias_init(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
    """Zeros, with 1 for the forget gate (the second of the gates i, f, g, o)."""
    del key
    hidden = shape[0] // 4
    return jnp.zeros(shape, dtype).at[hidden : 2 * hidden].set(1.0)


class BackwardLSTM(nn.Module):
    """LSTM scanned from the last step to the first, state zeroed before a terminal step.

    The reset keeps information of a later episode from flowing into an earlier one (B.1).
    Gates are ordered i, f, g, o with one bias each.
    """

    hidden_size: int

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "T R n"], not_done: Float[Array, "T R"]
    ) -> Float[Array, "T R h"]:
        size, gates = self.hidden_size, 4 * self.hidden_size
        wx = self.param("wx", nn.initializers.lecun_normal(), (inputs.shape[-1], gates))
        wh = self.param("wh", nn.initializers.orthogonal(), (size, gates))
        bias = self.param("b", forget_bias_init, (gates,))
        wx, wh, bias = (w.astype(inputs.dtype) for w in (wx, wh, bias))

        def step(carry, x):
            h, c = carry
            inp, keep = x
            h, c = h * keep[:, None], c * keep[:, None]
            i, f, g, o = jnp.split(inp @ wx + h @ wh + bias[None, :], 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros((inputs.shape[1], size), inputs.dtype)
        _, hidden = jax.lax.scan(step, (zeros, zeros), (inputs, not_done), reverse=True)
        return hidden


class LPGNetwork(nn.Module):
    """x_t -> pi_hat_t [T, R] and the logits of y_hat_t [T, R, m]; `targets` in learned_rule.py."""

    hidden_size: int = 256
    prediction_size: int = 30
    embedding_size: int = 16
    head_activation: Literal["relu", "none"] = "relu"

    @nn.compact
    def __call__(self, inputs: RuleInputs) -> tuple[Float[Array, "T R"], Float[Array, "T R m"]]:
        num_steps = inputs.reward.shape[0]
        embedding = PredictionEmbedding(self.embedding_size, name="phi")
        phi = embedding(jax.nn.softmax(inputs.prediction))
        x = jnp.stack(
            [
                inputs.reward,
                inputs.not_done,
                jnp.broadcast_to(inputs.gamma[None, :], inputs.reward.shape),
                inputs.action_prob,
                phi[:-1],
                # After a terminal step s_{t+1} belongs to the next episode: it must not leak.
                phi[1:] * inputs.not_done,
            ],
            axis=-1,
        )
        assert x.shape == (num_steps, inputs.reward.shape[1], NUM_INPUTS)
        hidden = BackwardLSTM(self.hidden_size, name="lstm")(x, inputs.not_done)
        if self.head_activation == "relu":
            hidden = nn.relu(hidden)
        pi_hat = nn.Dense(1, name="pi_hat", dtype=hidden.dtype)(hidden)[..., 0]
        y_hat = nn.Dense(self.prediction_size, name="y_hat", dtype=hidden.dtype)(hidden)
        return pi_hat, y_hat
