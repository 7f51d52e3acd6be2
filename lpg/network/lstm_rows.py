"""The backward LSTM and its heads for GPUs: the function of `lstm_scan`, with its own derivative.

A GPU's time goes into what crosses its memory, not into arithmetic: hidden and cell states alone
are kept, in the LSTM's type, and the backward pass computes gates again. Rows come first in every
array. What is narrow is added within the kernel that makes the gates: inputs by a multiply-add
each, resets by a factor on the recurrent product.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from lpg.network.lstm import SAVED, LSTMWeights, activate, bits

UNROLL = 32  # steps of the forward pass: a trajectory's states are then stacked at once, in place


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def lstm_rows(
    weights: LSTMWeights,
    head: Float[Array, "h k"],
    inputs: Float[Array, "T R n"],
    not_done: Float[Array, "T R"],
    relu: bool,
    dtype: DTypeLike,
) -> Float[Array, "T R k"]:
    """A linear layer on the hidden states, or on their positive parts.

    States, products and what they read are in `dtype`; sums, gates and outputs are float32 or
    wider. No gradient flows to `not_done`, which is data. Forward mode is refused by JAX, and a
    second derivative in bfloat16 by `bits`.
    """
    return _save(weights, head, inputs, not_done, relu, dtype)[0]


def _save(
    weights: LSTMWeights, head: Array, inputs: Array, not_done: Array, relu: bool, dtype: DTypeLike
) -> tuple[Array, tuple[Any, ...]]:
    wide, wh = _wide(dtype), weights.wh.astype(dtype)

    def step(carry: tuple[Array, Array], x: tuple[Array, Array]) -> tuple[Any, Any]:
        h, c = carry
        inp, keep = x
        i, f, g, o = _gates(weights, inp, _dot(h, wh, dtype), keep)
        c = f * (c.astype(wide) * keep.astype(wide)[:, None]) + i * g
        # Behind a barrier: else XLA carries c unrounded, twice the bytes, beside what it stores.
        h, c = jax.lax.optimization_barrier(((o * jnp.tanh(c)).astype(dtype), c.astype(dtype)))
        # Of different shapes: of two stacks that start alike, XLA would begin with a copy.
        return (h, c), (h, c[None])

    zeros = jnp.zeros((inputs.shape[1], len(wh)), dtype)
    unroll = min(UNROLL, len(inputs))
    states = jax.lax.scan(step, (zeros, zeros), (inputs, not_done), reverse=True, unroll=unroll)[1]
    hidden, cell = (checkpoint_name(x, SAVED) for x in states)
    outputs = _dot(activate(hidden, relu), head.astype(dtype), wide)
    return outputs, (weights, head, inputs, not_done, hidden, cell)


def _backward(
    relu: bool, dtype: DTypeLike, saved: tuple[Any, ...], outputs_bar: Array
) -> tuple[LSTMWeights, Array, Array, Array]:
    """Walks forward in time; gates are computed again from the state that entered each step."""
    weights, head, inputs, not_done, hidden, cell = saved
    (num_steps, num_rows, num_inputs), size = inputs.shape, len(weights.wh)
    wide, joined = _wide(dtype), _joined(weights, dtype)
    narrow_bar = outputs_bar.astype(dtype)
    head_bar = jnp.einsum(
        "trh,trk->thk", activate(hidden, relu), narrow_bar, preferred_element_type=wide
    ).sum(0)
    read_bar = _dot(narrow_bar, head.astype(dtype), dtype, 2, 1)
    recurrent = _dot(hidden, weights.wh.astype(dtype), dtype)
    # Zeros entered the last step: as if an episode ended there, whatever state is read for it.
    keep = not_done.at[-1].set(0.0)

    def step(carry: tuple[Array, ...], t: Array) -> tuple[tuple[Array, ...], Array]:
        z_bar, c_bar, w_bar = carry
        later, earlier = jnp.minimum(t + 1, num_steps - 1), jnp.maximum(t - 1, 0)
        gates = _gates(weights, inputs[t], recurrent[later], keep[t])
        c_later = cell[later, 0].astype(wide) * keep[t].astype(wide)[:, None]
        h_bar = z_bar[:, :size].astype(wide) * keep[earlier].astype(wide)[:, None]
        c_bar = c_bar.astype(wide) * keep[earlier].astype(wide)[:, None]
        bars = _state_bars(gates, c_later, h_bar, c_bar, read_bar[t].astype(wide), relu)
        *gates_bar, c_bar = (bar.astype(dtype) for bar in bars)
        gates_bar, c_bar = _interleaved(gates_bar, c_bar)
        z = _joined_inputs(hidden[later], inputs[t], keep[t])
        w_bar = w_bar + _dot(z, gates_bar, wide, 0, 0)
        z_bar = _dot(gates_bar, joined, dtype, 1, 1)
        return (z_bar, c_bar, w_bar), z_bar[:, size : size + num_inputs]

    carry = (
        jnp.zeros((num_rows, len(joined)), dtype),
        jnp.zeros((num_rows, size), dtype),
        jnp.zeros(joined.shape, wide),
    )
    (_, _, w_bar), inputs_bar = jax.lax.scan(step, carry, jnp.arange(num_steps))
    head_bar, inputs_bar = head_bar.astype(head.dtype), inputs_bar.astype(inputs.dtype)
    return _split(w_bar, weights), head_bar, inputs_bar, jnp.zeros_like(not_done)


lstm_rows.defvjp(_save, _backward)


def _wide(dtype: DTypeLike) -> jnp.dtype:
    return jnp.promote_types(dtype, jnp.float32)


def _gates(weights: LSTMWeights, inp: Array, recurrent: Array, keep: Array) -> tuple[Array, ...]:
    """i, f, g, o, [R, h] each."""
    size, wide = len(weights.wh), _wide(recurrent.dtype)
    inp, keep = inp.astype(wide), keep.astype(wide)

    def pre(n: int) -> Array:
        part = slice(n * size, (n + 1) * size)
        total = recurrent[:, part].astype(wide) * keep[:, None] + weights.bias[None, part]
        for m, row in enumerate(weights.wx[:, part]):
            total = total + inp[:, m, None] * row[None, :]
        return total

    i, f, o = (jax.nn.sigmoid(pre(n)) for n in (0, 1, 3))
    return i, f, jnp.tanh(pre(2)), o


def _state_bars(
    gates: tuple[Array, ...],
    c_later: Array,
    h_bar: Array,
    c_bar: Array,
    read_bar: Array,
    relu: bool,
) -> tuple[Array, ...]:
    """Cotangents of i, f, g, o before their nonlinearities and of the cell state that entered."""
    i, f, g, o = gates
    tanh_c = jnp.tanh(f * c_later + i * g)
    h_bar = h_bar + (jnp.where(tanh_c > 0, read_bar, 0.0) if relu else read_bar)
    c_bar = c_bar + h_bar * o * (1 - tanh_c * tanh_c)
    return (
        c_bar * g * i * (1 - i),
        c_bar * c_later * f * (1 - f),
        c_bar * i * (1 - g * g),
        h_bar * tanh_c * o * (1 - o),
        c_bar * f,
    )


def _interleaved(gates_bar: list[Array], c_bar: Array) -> tuple[Array, Array]:
    """The four side by side, unit by unit: [R, 4h]; and the last, which comes of the same kernel.

    As one integer of 64 bits they are an array of c_bar's shape, which a kernel writes beside it;
    a concatenation would be another one, that reads and writes all. The barrier keeps it so.
    """
    if c_bar.dtype.itemsize != 2:
        return jnp.stack(gates_bar, axis=-1).reshape(len(c_bar), -1), c_bar
    with jax.enable_x64(True):
        packed = jnp.zeros((), jnp.uint64)
        for n, bar in enumerate(gates_bar):
            shift = jnp.full(bar.shape, 16 * n, jnp.uint32).astype(jnp.uint64)
            packed = packed | (bits(bar).astype(jnp.uint64) << shift)
        packed, c_bar = jax.lax.optimization_barrier((packed, c_bar))
        joined = jax.lax.bitcast_convert_type(packed, c_bar.dtype)
    return joined.reshape(len(c_bar), -1), c_bar


def _joined(weights: LSTMWeights, dtype: DTypeLike) -> Array:
    """One matrix for h, x, 1 and padding, as `_joined_inputs` puts them side by side; its columns
    are `_interleaved`."""
    joined = jnp.concatenate([weights.wh, weights.wx, weights.bias[None, :]])
    joined = joined.reshape(len(joined), 4, -1).swapaxes(1, 2).reshape(joined.shape)
    return jnp.pad(joined, ((0, -len(joined) % 8), (0, 0))).astype(dtype)


def _split(joined: Array, like: LSTMWeights) -> LSTMWeights:
    """The inverse of `_joined`."""
    joined = joined.reshape(len(joined), -1, 4).swapaxes(1, 2).reshape(joined.shape)
    size, end = len(like.wh), len(like.wh) + len(like.wx)
    joined = joined.astype(like.wh.dtype)
    return LSTMWeights(wx=joined[size:end], wh=joined[:size], bias=joined[end])


def _joined_inputs(h_later: Array, inp: Array, keep: Array) -> Float[Array, "R z"]:
    """[h | x | 1 | padding], h zeroed where the later step is another episode's."""
    dtype, one = h_later.dtype, jnp.ones((len(inp), 1), h_later.dtype)
    parts = [h_later * keep.astype(dtype)[:, None], inp.astype(dtype), one]
    padding = -sum(part.shape[1] for part in parts) % 8
    return jnp.concatenate([*parts, jnp.zeros((len(inp), padding), dtype)], axis=1)


def _dot(a: Array, b: Array, dtype: DTypeLike, axis_a: int = -1, axis_b: int = 0) -> Array:
    """Contracts one axis of each into `dtype`; XLA sums in float32 or wider."""
    dims = (((axis_a % a.ndim,), (axis_b,)), ((), ()))
    return jax.lax.dot_general(a, b, dims, preferred_element_type=dtype)
