"""XLA's convolution of one agent's screens, with derivatives that a CPU is fast at, in loops too.

XLA has a fast convolution on CPUs for boards last in channels, [n, h, w, c] by [h, w, c, f], and
brings others to that form, but not within a loop, where they take 10 to 40 times as long; and what
JAX makes of a derivative has another form. So the three functions that a convolution's derivatives
of every order come to are written in that form here.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from lpg.agents.convolution import FORM, turned
from lpg.platform import platform


class Window(NamedTuple):
    """A convolution's geometry along height and width."""

    strides: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]  # zeros before and behind
    kernel: tuple[int, int]
    board: tuple[int, int]  # of what it reads


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def convolve(
    window: Window, kernel: Float[Array, "kh kw c f"], x: Float[Array, "n h w c"]
) -> Float[Array, "n _h _w f"]:
    """Cross-correlation as in `lax.conv`."""
    return lax.conv_general_dilated(
        x, kernel, window.strides, window.padding, dimension_numbers=FORM
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def correlate(
    window: Window, x: Float[Array, "n h w c"], y: Float[Array, "n _h _w f"]
) -> Float[Array, "kh kw c f"]:
    """The gradient of <convolve(kernel, x), y> with respect to the kernel."""
    channels, boards = jnp.transpose(x, (3, 1, 2, 0)), jnp.transpose(y, (1, 2, 0, 3))
    found = lax.conv_general_dilated(
        channels, boards, (1, 1), window.padding, rhs_dilation=window.strides,
        dimension_numbers=FORM,
    )  # fmt: skip
    height, width = window.kernel  # there can be more where strides leave a rest of the board
    return jnp.transpose(found[:, :height, :width], (1, 2, 0, 3))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def spread(
    window: Window, kernel: Float[Array, "kh kw c f"], y: Float[Array, "n _h _w f"]
) -> Float[Array, "n h w c"]:
    """The gradient of <convolve(kernel, x), y> with respect to x."""
    sizes = zip(
        window.kernel, window.padding, window.strides, window.board, y.shape[1:3], strict=True
    )
    padding = [
        (k - 1 - before, board + before - (cells - 1) * stride - 1)
        for k, (before, _), stride, board, cells in sizes
    ]
    return lax.conv_general_dilated(
        y, turned(kernel), (1, 1), padding, lhs_dilation=window.strides, dimension_numbers=FORM
    )


def _saved(function: Any) -> Any:
    return lambda window, *operands: (function(window, *operands), operands)


convolve.defvjp(
    _saved(convolve),
    lambda window, saved, bar: (
        correlate(window, saved[1], bar),
        spread(window, saved[0], bar),
    ),
)
correlate.defvjp(
    _saved(correlate),
    lambda window, saved, bar: (
        spread(window, bar, saved[1]),
        convolve(window, bar, saved[0]),
    ),
)
spread.defvjp(
    _saved(spread),
    lambda window, saved, bar: (
        correlate(window, bar, saved[1]),
        convolve(window, saved[0], bar),
    ),
)


def _as_flax_calls_it(
    x: Array, kernel: Array, strides: Sequence[int], padding: Any, **others: Any
) -> Array:
    if platform() != "cpu":
        return lax.conv_general_dilated(x, kernel, strides, padding, **others)
    size, board = kernel.shape[:2], x.shape[1:3]
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(board, size, strides, padding)
    window = Window(tuple(strides), tuple(map(tuple, padding)), size, board)  # type: ignore[arg-type]
    return convolve(window, kernel, x)


Conv = partial(nn.Conv, conv_general_dilated=_as_flax_calls_it)
"""flax's, on boards [n, h, w, c] of one agent, without groups or dilation."""
