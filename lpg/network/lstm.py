"""The backward LSTM with resets, computed in two ways that agree to rounding.

`lstm_scan` is the textbook scan over rows-major arrays: the choice for TPU and for programs of any
platform; `lstm_rows.py` has the one for GPUs.
`lstm_feature_major` keeps features first, has the layer on the hidden states within its loop and
computes gates and outputs again in its own backward pass: the choice for CPU, where only matmuls
whose operands need no transposing run at full rate and where stored activations cost more than the
arithmetic that makes them anew.

Both zero the state before a terminal step, so that information of a later episode does not flow
into an earlier one (Oh et al. 2020, B.1). Gates are ordered i, f, g, o.
"""

from functools import partial
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Array, Float

# What a rematerialised window keeps of the hand-differentiated LSTMs: they are not run twice.
SAVED = "lstm_states"


class LSTMWeights(NamedTuple):
    """Of n inputs and h units; the last axis holds the four gates side by side."""

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

    def step(
        carry: tuple[Array, Array], x: tuple[Array, Array]
    ) -> tuple[tuple[Array, Array], Array]:
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


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def lstm_feature_major(
    weights: LSTMWeights,
    head: Float[Array, "h k"],
    inputs: Float[Array, "T n R"],
    not_done: Float[Array, "T R"],
    relu: bool,
    dtype: DTypeLike,
) -> Float[Array, "T k R"]:
    """A linear layer on the hidden states, or on their positive parts.

    The LSTM's operands are in `dtype`; its sums, gates and cell states and the layer are float32 or
    wider. No gradient flows to `not_done`, which is data.
    """
    return _forward(weights, head, inputs, not_done, relu, dtype)[0]


def _forward(
    weights: LSTMWeights, head: Array, inputs: Array, not_done: Array, relu: bool, dtype: DTypeLike
) -> tuple[Array, Array, Array]:
    """The outputs; hidden states as `bits` and cell states, [T + 1, h, R] each, which end with the
    zeros at the start."""
    num_steps, _, num_rows = inputs.shape
    size, wide = weights.wh.shape[0], _wide(dtype)
    joined_transposed, head_transposed = _transposed(_joined(weights, dtype)), head.T
    not_done = not_done.astype(wide)

    def step(n: Array | int, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        outputs, hidden, cell, h, c = carry
        t = num_steps - 1 - n
        i, f, g, o = _gates(joined_transposed, _joined_inputs(h, inputs[t], not_done[t]), size)
        c = f * (c * not_done[t][None, :]) + i * g
        h = (o * jnp.tanh(c)).astype(dtype)
        # Not in bfloat16: XLA's CPU backend lacks it for products this narrow.
        output = _dot(head_transposed, activate(h, relu).astype(wide))
        return outputs.at[t].set(output), hidden.at[t].set(bits(h)), cell.at[t].set(c), h, c

    outputs = jnp.zeros((num_steps, head.shape[1], num_rows), wide)
    cell = jnp.zeros((num_steps + 1, size, num_rows), wide)
    hidden = bits(cell.astype(dtype))
    carry = (outputs, hidden, cell, cell[-1].astype(dtype), cell[-1])
    return jax.lax.fori_loop(0, num_steps, step, carry)[:3]


def _save(
    weights: LSTMWeights, head: Array, inputs: Array, not_done: Array, relu: bool, dtype: DTypeLike
) -> tuple[Array, tuple[Any, ...]]:
    outputs, *states = _forward(weights, head, inputs, not_done, relu, dtype)
    hidden, cell = (checkpoint_name(x, SAVED) for x in states)
    return outputs, (weights, head, inputs, not_done, hidden, cell)


def _backward(
    relu: bool, dtype: DTypeLike, saved: tuple[Any, ...], outputs_bar: Array
) -> tuple[LSTMWeights, Array, Array, Array]:
    """Walks forward in time; all is computed again from the state that entered each step."""
    weights, head, inputs, not_done, hidden, cell = saved
    size, bias, num_rows = len(weights.wh), len(weights.wh) + inputs.shape[1], inputs.shape[2]
    wide = cell.dtype
    joined = _joined(weights, dtype)
    joined_transposed = _transposed(joined)

    def step(carry: tuple[Array, ...], t: Array) -> tuple[tuple[Array, ...], Array]:
        h_bar, c_bar, w_bar, head_bar, gates_bar = carry
        keep = not_done[t].astype(wide)
        z = _joined_inputs(_floats(hidden[t + 1], dtype), inputs[t], keep)
        i, f, g, o = _gates(joined_transposed, z, size)
        c_later = cell[t + 1] * keep[None, :]
        tanh_c = jnp.tanh(f * c_later + i * g)
        h = (o * tanh_c).astype(dtype)
        read_bar = _dot(head, outputs_bar[t])
        activated = activate(h, relu).astype(wide)
        head_bar = head_bar + _dot(activated, outputs_bar[t], contract_last=True)
        h_bar = h_bar + (jnp.where(h > 0, read_bar, 0.0) if relu else read_bar)
        c_bar = c_bar + h_bar * o * (1 - tanh_c * tanh_c)
        parts = (
            c_bar * g * i * (1 - i),
            c_bar * c_later * f * (1 - f),
            c_bar * i * (1 - g * g),
            h_bar * tanh_c * o * (1 - o),
        )
        gates_bar = _stacked_in(gates_bar, parts, dtype)
        pre_bar = _floats(gates_bar, dtype)
        z_bar = _dot(joined, pre_bar)
        w_bar = w_bar + _dot(pre_bar, z, contract_last=True)
        h_bar, c_bar = z_bar[:size] * keep[None, :], c_bar * f * keep[None, :]
        return (h_bar, c_bar, w_bar, head_bar, gates_bar), z_bar[size:bias]

    zeros = jnp.zeros((size, num_rows), wide)
    w_bar = jnp.zeros(joined.shape[::-1], wide)
    gates_bar = bits(jnp.zeros((4 * size, num_rows), dtype))
    carry = (zeros, zeros, w_bar, jnp.zeros(head.shape, wide), gates_bar)
    (_, _, w_bar, head_bar, _), inputs_bar = jax.lax.scan(step, carry, jnp.arange(len(inputs)))
    w_bar = w_bar.T.astype(weights.wh.dtype)
    weights_bar = LSTMWeights(wx=w_bar[size:bias], wh=w_bar[:size], bias=w_bar[bias])
    head_bar, inputs_bar = head_bar.astype(head.dtype), inputs_bar.astype(inputs.dtype)
    return weights_bar, head_bar, inputs_bar, jnp.zeros_like(not_done)


def _stacked_in(buffer: Array, parts: tuple[Array, ...], dtype: DTypeLike) -> Array:
    """The parts' bits one below the other, in a buffer that a loop carries.

    XLA's CPU backend writes these in place and in vectors, but computes a concatenation element by
    element.
    """
    for n, part in enumerate(parts):
        part = bits(part.astype(dtype))
        buffer = jax.lax.dynamic_update_slice(buffer, part, (n * len(part), 0))
    return buffer


lstm_feature_major.defvjp(_save, _backward)


def _wide(dtype: DTypeLike) -> jnp.dtype:
    return jnp.promote_types(dtype, jnp.float32)


def bits(x: Array) -> Array:
    """bfloat16 as the integers it is made of; other types as they are.

    To write one slice of a bfloat16 array, XLA's CPU backend takes all of it to float32 and back.
    A GPU writes four gates at once as one wider integer.
    """
    return _bits_of_bfloat16(x) if x.dtype == jnp.bfloat16 else x


@jax.custom_jvp
def _bits_of_bfloat16(x: Array) -> Array:
    return jax.lax.bitcast_convert_type(x, jnp.uint16)


@_bits_of_bfloat16.defjvp
def _no_second_derivative(*_: Any) -> NoReturn:
    """First derivatives are written by hand; through integers, others would silently be zero."""
    raise TypeError(
        "this LSTM has no second derivative in bfloat16; take precision float32 instead"
    )


def _floats(x: Array, dtype: DTypeLike) -> Array:
    """What `bits` was made of."""
    return x if x.dtype == dtype else jax.lax.bitcast_convert_type(x, dtype)


def activate(h: Array, relu: bool) -> Array:
    """What the heads read of the hidden states."""
    return jax.nn.relu(h) if relu else h


def _joined(weights: LSTMWeights, dtype: DTypeLike) -> Array:
    """One matrix for h, x, 1 and padding, as `_joined_inputs` stacks them."""
    joined = jnp.concatenate([weights.wh, weights.wx, weights.bias[None, :]])
    return jnp.pad(joined, ((0, _padding(len(joined), dtype)), (0, 0))).astype(dtype)


def _padding(num_inputs: int, dtype: DTypeLike) -> int:
    """Rows of zeros: bfloat16 matrix instructions take 32 at a time, and are slow with a rest."""
    return -num_inputs % 32 if dtype == jnp.bfloat16 else 0


def _transposed(joined: Array) -> Array:
    # The barrier keeps the transpose out of the loop, where XLA would fold it into each product.
    return jax.lax.optimization_barrier(joined.T)


def _joined_inputs(h: Array, inp: Array, keep: Array) -> Array:
    """[h; x; 1; padding], h zeroed where the later step belongs to another episode."""
    num_inputs = len(h) + len(inp) + 1
    one = jnp.ones((1, h.shape[1]), h.dtype)
    zeros = jnp.zeros((_padding(num_inputs, h.dtype), h.shape[1]), h.dtype)
    return jnp.concatenate([h * keep.astype(h.dtype)[None, :], inp.astype(h.dtype), one, zeros])


def _gates(joined_transposed: Array, z: Array, size: int) -> tuple[Array, ...]:
    """i, f, g, o, [h, R] each, by one tanh over all: sigmoid(x) = tanh(x / 2) / 2 + 1 / 2."""
    pre = _dot(joined_transposed, z)
    scale = jnp.repeat(jnp.array([0.5, 0.5, 1.0, 0.5], pre.dtype), size)[:, None]
    gates = scale * jnp.tanh(scale * pre) + (1 - scale)
    return tuple(gates[n * size : (n + 1) * size] for n in range(4))


def _dot(a: Array, b: Array, contract_last: bool = False) -> Array:
    dims = (((1,), (1 if contract_last else 0,)), ((), ()))
    return jax.lax.dot_general(a, b, dims, preferred_element_type=_wide(a.dtype))
