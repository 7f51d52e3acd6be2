"""The networks of LPG and of LPG-V: a backward LSTM from a trajectory to the rule's targets.

Source: Oh et al. 2020, section 3.1, section 4.1 (LPG-V) and appendix B.1. With the published sizes
LPG's has 277,792 parameters.
"""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from lpg.network.lstm import LSTMWeights, activate, lstm_feature_major, lstm_scan
from lpg.network.lstm_fused import lstm_fused
from lpg.network.lstm_rows import lstm_rows
from lpg.rule import RuleInputs
from lpg.rules.learned import HeadActivation

PredictionInput = Literal["y", "centred"]  # what phi reads: y, or m y - 1
LSTMProgram = Literal["scan", "feature_major", "rows", "fused"]

NUM_INPUTS = 6  # r_t, d_t, gamma, pi(a_t|s_t), outlook(s_t), d_t outlook(s_{t+1}) (section 3.1)


class PredictionEmbedding(nn.Module):
    """phi: the prediction vector y (a distribution over m categories) to a scalar."""

    width: int

    @nn.compact
    def __call__(self, y: Float[Array, "*batch m"]) -> Float[Array, "*batch"]:
        hidden = nn.relu(nn.Dense(self.width, name="hidden", dtype=y.dtype)(y))
        return nn.Dense(1, name="out", dtype=y.dtype)(hidden)[..., 0]


def forget_bias_init(key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
    """Zeros, with 1 for the forget gate (the second of the gates i, f, g, o)."""
    del key
    hidden = shape[0] // 4
    return jnp.zeros(shape, dtype).at[hidden : 2 * hidden].set(1.0)


class BackwardLSTM(nn.Module):
    """The parameters of the LSTM; `lpg/network/lstm.py` computes with them."""

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


class RuleNetwork(nn.Module):
    """What both share. `outlook`: what the agent expects of a state, as one number; T1 = T + 1."""

    hidden_size: int = 256
    head_activation: HeadActivation = "relu"
    dtype: DTypeLike | None = None  # of the LSTM and its matmuls; None: as the inputs
    lstm: LSTMProgram = "scan"  # which of lpg/network's lstm.py, lstm_rows.py and lstm_fused.py

    def _heads(
        self, inputs: RuleInputs, outlook: Float[Array, "T1 R"], **widths: int
    ) -> Float[Array, "T R k"]:
        """The named heads on the LSTM, side by side. Called within the compact method."""
        features = (
            inputs.reward,
            inputs.not_done,
            jnp.broadcast_to(inputs.gamma[None, :], inputs.reward.shape),
            inputs.action_prob,
            outlook[:-1],
            # After a terminal step s_{t+1} belongs to the next episode: it must not leak.
            outlook[1:] * inputs.not_done,
        )
        weights = BackwardLSTM(self.hidden_size, name="lstm")(NUM_INPUTS)
        heads = [Head(width, name=name)(self.hidden_size) for name, width in widths.items()]
        kernel, bias = (jnp.concatenate(parts, axis=-1) for parts in zip(*heads, strict=True))
        # A program of symbolic sizes (lpg/files/export.py) is for every backend: the plain scan.
        program = self.lstm if isinstance(inputs.reward.shape[1], int) else "scan"
        if program == "feature_major":
            outputs = self._feature_major(weights, kernel, features, inputs.not_done)
        elif program == "rows":
            outputs = self._rows(weights, kernel, features, inputs.not_done)
        else:
            lstm = lstm_fused if program == "fused" else lstm_scan
            outputs = self._row_major(lstm, weights, kernel, features, inputs.not_done)
        return outputs + bias[None, None, :]

    def _row_major(
        self,
        lstm: Callable[..., Any],
        weights: LSTMWeights,
        kernel: Array,
        features: tuple[Array, ...],
        not_done: Array,
    ) -> Float[Array, "T R k"]:
        dtype = self.dtype or not_done.dtype
        hidden = lstm(weights, jnp.stack(features, -1), not_done, dtype)
        hidden = activate(hidden, self.head_activation == "relu")
        return jnp.matmul(hidden, kernel.astype(dtype), preferred_element_type=not_done.dtype)

    def _feature_major(
        self, weights: LSTMWeights, kernel: Array, features: tuple[Array, ...], not_done: Array
    ) -> Float[Array, "T R k"]:
        relu, dtype = self.head_activation == "relu", self.dtype or not_done.dtype
        x = jnp.stack(features, axis=1)
        return jnp.moveaxis(lstm_feature_major(weights, kernel, x, not_done, relu, dtype), 1, 2)

    def _rows(
        self, weights: LSTMWeights, kernel: Array, features: tuple[Array, ...], not_done: Array
    ) -> Float[Array, "T R k"]:
        relu, dtype = self.head_activation == "relu", self.dtype or not_done.dtype
        return lstm_rows(weights, kernel, jnp.stack(features, -1), not_done, relu, dtype)


class LPGNetwork(RuleNetwork):
    """x_t -> pi_hat_t [T, R] and the logits of y_hat_t [T, R, m]; `targets` in rules/lpg.py."""

    prediction_size: int = 30
    embedding_size: int = 16
    prediction_input: PredictionInput = "y"

    @nn.compact
    def __call__(self, inputs: RuleInputs) -> tuple[Float[Array, "T R"], Float[Array, "T R m"]]:
        embedding = PredictionEmbedding(self.embedding_size, name="phi")
        y = jax.nn.softmax(inputs.prediction)
        if self.prediction_input == "centred":
            y = self.prediction_size * y - 1.0
        outlook = embedding(y)
        out = self._heads(inputs, outlook, pi_hat=1, y_hat=self.prediction_size)
        return out[..., 0], out[..., 1:]


class LPGVNetwork(RuleNetwork):
    """x_t, with V in place of phi(y), -> pi_hat_t [T, R]; `targets` in rules/lpg_v.py."""

    @nn.compact
    def __call__(self, inputs: RuleInputs) -> Float[Array, "T R"]:
        return self._heads(inputs, inputs.value[..., 0], pi_hat=1)[..., 0]
