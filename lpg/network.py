"""The LPG network: a backward LSTM from a trajectory to (pi_hat, y_hat).

Source: Oh et al. 2020, section 3.1 and appendix B.1. With the published sizes it has 277,792
parameters.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from lpg.lstm import LSTMWeights, lstm_feature_major, lstm_scan
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
    """The parameters of the LSTM; `lpg/lstm.py` computes with them."""

    hidden_size: int

    @nn.compact
    def __call__(self, num_inputs: int) -> LSTMWeights:
        size, gates = self.hidden_size, 4 * self.hidden_size
        return LSTMWeights(
            wx=self.param("wx", nn.initializers.lecun_normal(), (num_inputs, gates)),
            wh=self.param("wh", nn.initializers.orthogonal(), (size, gates)),
            bias=self.param("b", forget_bias_init, (gates,)),
        )


class Head(nn.Module):
    """The parameters of a linear layer on the LSTM's hidden state."""

    features: int

    @nn.compact
    def __call__(self, hidden_size: int) -> tuple[Float[Array, "h k"], Float[Array, "k"]]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (hidden_size, self.features))
        return kernel, self.param("bias", nn.initializers.zeros, (self.features,))


class LPGNetwork(nn.Module):
    """x_t -> pi_hat_t [T, R] and the logits of y_hat_t [T, R, m]; `targets` in learned_rule.py."""

    hidden_size: int = 256
    prediction_size: int = 30
    embedding_size: int = 16
    head_activation: Literal["relu", "none"] = "relu"
    dtype: DTypeLike | None = None  # of the LSTM and its matmuls; None: as the inputs
    feature_major: bool = False  # the LSTM's layout, see lpg/lstm.py

    @nn.compact
    def __call__(self, inputs: RuleInputs) -> tuple[Float[Array, "T R"], Float[Array, "T R m"]]:
        embedding = PredictionEmbedding(self.embedding_size, name="phi")
        phi = embedding(jax.nn.softmax(inputs.prediction))
        features = (
            inputs.reward,
            inputs.not_done,
            jnp.broadcast_to(inputs.gamma[None, :], inputs.reward.shape),
            inputs.action_prob,
            phi[:-1],
            # After a terminal step s_{t+1} belongs to the next episode: it must not leak.
            phi[1:] * inputs.not_done,
        )
        weights = BackwardLSTM(self.hidden_size, name="lstm")(NUM_INPUTS)
        heads = (
            Head(1, name="pi_hat")(self.hidden_size),
            Head(self.prediction_size, name="y_hat")(self.hidden_size),
        )
        kernel, bias = (jnp.concatenate(parts, axis=-1) for parts in zip(*heads, strict=True))
        outputs = self._feature_major if self.feature_major else self._row_major
        out = outputs(weights, kernel, features, inputs.not_done) + bias[None, None, :]
        return out[..., 0], out[..., 1:]

    def _row_major(
        self, weights: LSTMWeights, kernel: Array, features: tuple[Array, ...], not_done: Array
    ) -> Float[Array, "T R k"]:
        dtype = self.dtype or not_done.dtype
        hidden = self._activate(lstm_scan(weights, jnp.stack(features, -1), not_done, dtype))
        return jnp.matmul(hidden, kernel.astype(dtype), preferred_element_type=not_done.dtype)

    def _feature_major(
        self, weights: LSTMWeights, kernel: Array, features: tuple[Array, ...], not_done: Array
    ) -> Float[Array, "T R k"]:
        dtype = self.dtype or not_done.dtype
        x = jnp.stack(features, axis=1)
        hidden = self._activate(lstm_feature_major(weights, x, not_done, dtype))
        # Not in bfloat16: XLA's CPU backend lacks it for products this narrow.
        batch = jnp.broadcast_to(kernel.T, (len(hidden), *kernel.T.shape))
        return jnp.moveaxis(jnp.matmul(batch, hidden.astype(kernel.dtype)), 1, 2)

    def _activate(self, hidden: Array) -> Array:
        return nn.relu(hidden) if self.head_activation == "relu" else hidden
