"""The backward LSTM as one Pallas kernel for TPUs: the function of `lstm_scan`.

A block of rows walks through all of time with its state and the weights in the chip's own memory;
only inputs, hidden and cell states cross to the device's memory. The backward kernel computes the
gates again and sums the weights' gradients in place. A TPU core takes the grid's steps one after
the other, which the state between them relies on: not for GPUs, see docs/performance.md.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from lpg.network.lstm import LSTMWeights
from lpg.platform import platform

Ref = Any  # a block in the chip's own memory, as a kernel gets it
BLOCK = 256  # rows of one block: gates of 256 units, their gradients and all weights take 8 MB


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def lstm_fused(
    weights: LSTMWeights,
    inputs: Float[Array, "T R n"],
    not_done: Float[Array, "T R"],
    dtype: DTypeLike,
) -> Float[Array, "T R h"]:
    """Hidden states in `dtype`; sums, gates and cell states are float32.

    Any T and R: rows are padded to whole blocks. Interpreted, slowly, where there is no TPU. No
    gradient flows to `not_done`, which is data; a second derivative is refused by JAX.
    """
    return _save(weights, inputs, not_done, dtype)[0]


def _save(
    weights: LSTMWeights, inputs: Array, not_done: Array, dtype: DTypeLike
) -> tuple[Array, tuple[Any, ...]]:
    x, keep = _blocks(inputs, dtype), _blocks(not_done[..., None], jnp.float32)
    num_steps, rows, width = x.shape
    size = weights.wh.shape[0]
    block = min(BLOCK, rows)

    def last_first(i: Array, t: Array) -> tuple[Array, Array, int]:
        return num_steps - 1 - t, i, 0

    hidden, cell = pl.pallas_call(
        _forward_kernel,
        grid=(rows // block, num_steps),
        in_specs=[
            pl.BlockSpec((1, block, width), last_first),
            pl.BlockSpec((1, block, 1), last_first),
            *_whole(width, size),
        ],
        out_specs=[pl.BlockSpec((1, block, size), last_first)] * 2,
        out_shape=[
            jax.ShapeDtypeStruct((num_steps, rows, size), dtype),
            jax.ShapeDtypeStruct((num_steps, rows, size), jnp.float32),
        ],
        scratch_shapes=[pltpu.VMEM((block, size), jnp.float32)] * 2,
        interpret=platform() != "tpu",
    )(x, keep, *_narrow(weights, dtype))
    saved = (weights, inputs, not_done, hidden, cell)
    return hidden[:, : inputs.shape[1]], saved


def _forward_kernel(
    x: Ref, keep: Ref, wx: Ref, wh: Ref, bias: Ref, hidden: Ref, cell: Ref, h: Ref, c: Ref
) -> None:
    @pl.when(pl.program_id(1) == 0)
    def _() -> None:
        h[...] = jnp.zeros_like(h)
        c[...] = jnp.zeros_like(c)

    before = (h[...] * keep[0]).astype(wh.dtype)
    i, f, g, o = _gates(x[0], before, wx, wh, bias)
    c[...] = f * (c[...] * keep[0]) + i * g
    h[...] = o * jnp.tanh(c[...])
    hidden[0] = h[...].astype(hidden.dtype)
    cell[0] = c[...]


def _backward(
    dtype: DTypeLike, saved: tuple[Any, ...], hidden_bar: Array
) -> tuple[LSTMWeights, Array, Array]:
    weights, inputs, not_done, hidden, cell = saved
    x, keep = _blocks(inputs, dtype), _blocks(not_done[..., None], jnp.float32)
    bar = _blocks(hidden_bar, jnp.float32)
    num_steps, rows, width = x.shape
    size = weights.wh.shape[0]
    block = min(BLOCK, rows)

    def now(i: Array, t: Array) -> tuple[Array, Array, int]:
        return t, i, 0

    # Of the last step, for which the kernel takes zeros instead.
    def later(i: Array, t: Array) -> tuple[Array, Array, int]:
        return jnp.minimum(t + 1, num_steps - 1), i, 0

    x_bar, wx_bar, wh_bar, bias_bar = pl.pallas_call(
        _backward_kernel,
        grid=(rows // block, num_steps),
        in_specs=[
            pl.BlockSpec((1, block, size), now),
            pl.BlockSpec((1, block, width), now),
            pl.BlockSpec((1, block, 1), now),
            pl.BlockSpec((1, block, size), later),
            pl.BlockSpec((1, block, size), now),
            pl.BlockSpec((1, block, size), later),
            *_whole(width, size),
        ],
        out_specs=[pl.BlockSpec((1, block, width), now), *_whole(width, size)],
        out_shape=[
            jax.ShapeDtypeStruct(x.shape, jnp.float32),
            jax.ShapeDtypeStruct((width, 4 * size), jnp.float32),
            jax.ShapeDtypeStruct((size, 4 * size), jnp.float32),
            jax.ShapeDtypeStruct((1, 4 * size), jnp.float32),
        ],
        scratch_shapes=[pltpu.VMEM((block, size), jnp.float32)] * 2,
        interpret=platform() != "tpu",
    )(bar, x, keep, hidden, cell, cell, *_narrow(weights, dtype))
    weights_bar = LSTMWeights(wx_bar, wh_bar, bias_bar[0])
    weights_bar = jax.tree.map(lambda g, w: g.astype(w.dtype), weights_bar, weights)
    inputs_bar = x_bar[:, : inputs.shape[1]].astype(inputs.dtype)
    return weights_bar, inputs_bar, jnp.zeros_like(not_done)


def _backward_kernel(
    bar: Ref, x: Ref, keep: Ref, hidden_later: Ref, cell: Ref, cell_later: Ref, wx: Ref, wh: Ref,
    bias: Ref, x_bar: Ref, wx_bar: Ref, wh_bar: Ref, bias_bar: Ref, h_bar: Ref, c_bar: Ref,
) -> None:  # fmt: skip
    """Walks forward in time; the gates are computed again from the saved states."""
    first, last = pl.program_id(1) == 0, pl.program_id(1) == pl.num_programs(1) - 1

    @pl.when(first)
    def _() -> None:
        h_bar[...] = jnp.zeros_like(h_bar)
        c_bar[...] = jnp.zeros_like(c_bar)

    @pl.when(first & (pl.program_id(0) == 0))
    def _() -> None:
        for sums in (wx_bar, wh_bar, bias_bar):
            sums[...] = jnp.zeros_like(sums)

    going_on = jnp.where(last, 0.0, keep[0])
    before = (hidden_later[0] * going_on).astype(wh.dtype)
    i, f, g, o = _gates(x[0], before, wx, wh, bias)
    out_bar = h_bar[...] + bar[0]
    tanh_c = jnp.tanh(cell[0])
    state_bar = c_bar[...] + out_bar * o * (1 - tanh_c * tanh_c)
    gates_bar = jnp.concatenate([
        state_bar * g * i * (1 - i),
        state_bar * (cell_later[0] * going_on) * f * (1 - f),
        state_bar * i * (1 - g * g),
        out_bar * tanh_c * o * (1 - o),
    ], axis=-1)  # fmt: skip
    bias_bar[...] += jnp.sum(gates_bar, axis=0, keepdims=True)
    gates_bar = gates_bar.astype(wh.dtype)
    wx_bar[...] += _dot(x[0], gates_bar, 0, 0)
    wh_bar[...] += _dot(before, gates_bar, 0, 0)
    x_bar[0] = _dot(gates_bar, wx[...], 1, 1)
    h_bar[...] = _dot(gates_bar, wh[...], 1, 1) * going_on
    c_bar[...] = state_bar * f * going_on


lstm_fused.defvjp(_save, _backward)


def _gates(x: Array, before: Array, wx: Ref, wh: Ref, bias: Ref) -> tuple[Array, ...]:
    pre = _dot(x, wx[...], 1, 0) + _dot(before, wh[...], 1, 0) + bias[...]
    i, f, g, o = jnp.split(pre, 4, axis=-1)
    return jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)


def _dot(a: Array, b: Array, axis_a: int, axis_b: int) -> Array:
    """Contracts one axis of each, summed in float32."""
    dims = (((axis_a,), (axis_b,)), ((), ()))
    return jax.lax.dot_general(a, b, dims, preferred_element_type=jnp.float32)


def _blocks(x: Array, dtype: DTypeLike) -> Array:
    """[T, R, ...] with zero rows up to a whole number of blocks; a lone block may be of any size,
    but for the 16 rows of a bfloat16 tile."""
    rows = x.shape[1]
    multiple = BLOCK if rows > BLOCK else 16
    return jnp.pad(x.astype(dtype), ((0, 0), (0, -rows % multiple), (0, 0)))


def _narrow(weights: LSTMWeights, dtype: DTypeLike) -> tuple[Array, Array, Array]:
    return (
        weights.wx.astype(dtype),
        weights.wh.astype(dtype),
        weights.bias.astype(jnp.float32)[None, :],
    )


def _whole(width: int, size: int) -> list[pl.BlockSpec]:
    """Of wx, wh and the bias, or of their gradients: one block, which stays where it is."""
    return [pl.BlockSpec((n, 4 * size), lambda i, t: (0, 0)) for n in (width, size, 1)]
