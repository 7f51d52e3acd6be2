"""The backward LSTM with resets, computed in two ways that agree to rounding.

`lstm_scan` is the textbook scan over rows-major arrays: the choice for GPU and TPU.
`lstm_feature_major` keeps features first and recomputes the gates in its own backward pass: the
choice for CPU, where only matmuls whose operands need no transposing run at full rate and where
stored activations cost more than the arithmetic that makes them anew.

Both zero the state before a terminal step, so that information of a later episode does not flow
into an earlier one (Oh et al. 2020, B.1). Gates are ordered i, f, g, o.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Array, Float

# What a rematerialised window keeps of `lstm_feature_major`, so that it is not run twice.
SAVED = "lstm_states"


class LSTMWeights(NamedTuple):
    wx: Float[Array, "n 4h"]
    wh: Float[Array, "h 4h"]
    bias: Float[Array, "4h"]


def lstm_scan(
    weights: LSTMWeights,
    inputs: Float[Array, "T R n"],
    not_done: Float[Array, "T R"],
    dtype: DTypeLike,
) -> Float[Array, "T R h"]:
    """Hidden states; everything is computed in `dtype`."""
    weights = jax.tree.map(lambda w: w.astype(dtype), weights)
    inputs, not_done = inputs.astype(dtype), not_done.astype(dtype)

    def step(carry, x):
        h, c = carry
        inp, keep = x
        h, c = h * keep[:, None], c * keep[:, None]
        gates = inp @ weights.wx + h @ weights.wh + weights.bias[None, :]
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros((inputs.shape[1], weights.wh.shape[0]), dtype)
    return jax.lax.scan(step, (zeros, zeros), (inputs, not_done), reverse=True)[1]


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def lstm_feature_major(
    weights: LSTMWeights,
    inputs: Float[Array, "T n R"],
    not_done: Float[Array, "T R"],
    dtype: DTypeLike,
) -> Float[Array, "T h R"]:
    """Hidden states in `dtype`; sums, gates and cell states are float32 or wider.

    No gradient flows to `not_done`, which is data.
    """
    return _forward(weights, inputs, not_done, dtype)[0]


def _forward(weights: LSTMWeights, inputs: Array, not_done: Array, dtype: DTypeLike):
    """Hidden states [T, h, R] and cell states [T, h, R]."""
    size = weights.wh.shape[0]
    joined = _joined_transposed(weights, dtype)

    def step(carry, x):
        h, c = carry
        i, f, g, o = _gates(joined, _joined_inputs(h, *x), size)
        c = f * (c * x[1][None, :]) + i * g
        h = (o * jnp.tanh(c)).astype(dtype)
        return (h, c), (h, c)

    zeros = jnp.zeros((size, inputs.shape[2]), _wide(dtype))
    carry = (zeros.astype(dtype), zeros)
    not_done = not_done.astype(zeros.dtype)
    return jax.lax.scan(step, carry, (inputs, not_done), reverse=True)[1]


def _save(weights: LSTMWeights, inputs: Array, not_done: Array, dtype: DTypeLike):
    hidden, cell = _forward(weights, inputs, not_done, dtype)
    hidden, cell = (checkpoint_name(x, SAVED) for x in (hidden, cell))
    return hidden, (weights, inputs, not_done, hidden, cell)


def _backward(dtype: DTypeLike, saved, hidden_bar: Array):
    """Walks forward in time; the gates are computed again from the saved states."""
    weights, inputs, not_done, hidden, cell = saved
    size, num_rows = weights.wh.shape[0], inputs.shape[2]
    wide = cell.dtype
    joined_transposed = _joined_transposed(weights, dtype)
    joined = _joined(weights).astype(dtype)

    def step(carry, x):
        h_bar, c_bar, w_bar = carry
        out_bar, h_later, c, c_later, inp, keep = x
        z = _joined_inputs(h_later, inp, keep)
        i, f, g, o = _gates(joined_transposed, z, size)
        h_bar = h_bar + out_bar.astype(wide)
        tanh_c = jnp.tanh(c)
        c_bar = c_bar + h_bar * o * (1 - tanh_c * tanh_c)
        gates_bar = jnp.concatenate([
            c_bar * g * i * (1 - i),
            c_bar * (c_later * keep[None, :]) * f * (1 - f),
            c_bar * i * (1 - g * g),
            h_bar * tanh_c * o * (1 - o),
        ]).astype(dtype)  # fmt: skip
        z_bar = _dot(joined, gates_bar)
        w_bar = w_bar + _dot(gates_bar, z, contract_last=True)
        carry = (z_bar[:size] * keep[None, :], c_bar * f * keep[None, :], w_bar)
        return carry, z_bar[size:-1]

    zeros = jnp.zeros((size, num_rows), wide)
    later = (
        jnp.concatenate([hidden[1:], jnp.zeros_like(hidden[:1])]),
        jnp.concatenate([cell[1:], jnp.zeros_like(cell[:1])]),
    )
    sequence = (hidden_bar, later[0], cell, later[1], inputs, not_done.astype(wide))
    w_bar = jnp.zeros((4 * size, size + inputs.shape[1] + 1), wide)
    (_, _, w_bar), inputs_bar = jax.lax.scan(step, (zeros, zeros, w_bar), sequence)
    w_bar = w_bar.T.astype(weights.wh.dtype)
    weights_bar = LSTMWeights(wx=w_bar[size:-1], wh=w_bar[:size], bias=w_bar[-1])
    return weights_bar, inputs_bar.astype(inputs.dtype), jnp.zeros_like(not_done)


lstm_feature_major.defvjp(_save, _backward)


def _wide(dtype: DTypeLike):
    return jnp.promote_types(dtype, jnp.float32)


def _joined(weights: LSTMWeights) -> Array:
    """One matrix for h, x and 1, as `_joined_inputs` stacks them."""
    return jnp.concatenate([weights.wh, weights.wx, weights.bias[None, :]])


def _joined_transposed(weights: LSTMWeights, dtype: DTypeLike) -> Array:
    # The barrier keeps the transpose out of the loop, where XLA would fold it into each product.
    return jax.lax.optimization_barrier(_joined(weights).T.astype(dtype))


def _joined_inputs(h: Array, inp: Array, keep: Array) -> Array:
    """[h; x; 1], [h + n + 1, R], h zeroed where the later step belongs to another episode."""
    one = jnp.ones((1, h.shape[1]), h.dtype)
    return jnp.concatenate([h * keep.astype(h.dtype)[None, :], inp.astype(h.dtype), one])


def _gates(joined_transposed: Array, z: Array, size: int) -> tuple[Array, ...]:
    """i, f, g, o, [h, R] each, by one tanh over all: sigmoid(x) = tanh(x / 2) / 2 + 1 / 2."""
    pre = _dot(joined_transposed, z)
    scale = jnp.repeat(jnp.array([0.5, 0.5, 1.0, 0.5], pre.dtype), size)[:, None]
    gates = scale * jnp.tanh(scale * pre) + (1 - scale)
    return tuple(gates[n * size : (n + 1) * size] for n in range(4))


def _dot(a: Array, b: Array, contract_last: bool = False) -> Array:
    dims = (((1,), (1 if contract_last else 0,)), ((), ()))
    return jax.lax.dot_general(a, b, dims, preferred_element_type=_wide(a.dtype))
