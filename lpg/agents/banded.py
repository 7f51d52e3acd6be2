"""3x3 convolutions as products of rows of boards with banded matrices: the program of accelerators.

A row of w cells with c channels is one vector [w * c], and a row i of the kernel a matrix [w * c,
w * f] with the kernel on three diagonals of blocks. Row r of the output is then

    row[r - 1] @ band[0] + row[r] @ band[1] + row[r + 1] @ band[2].

Small boards make it pay: on one of width 11 this is 3.7 times the arithmetic of nine shifted views
of a cell and a third of their bytes, and bytes are what an accelerator waits for. Boards keep
their type, kernels are float32 or wider. Nothing here says what its derivatives are:
`lpg/agents/convolution.py` does.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float


class Operand(NamedTuple):
    """A layer as rows of boards are multiplied with it."""

    # The bands one below the other and then, if there is a bias, it and zeros, [3 * w * c + .., w *
    # f]; or side by side, [w * c, 3 * w * f]: the side that is read or written three rows at a time
    # is the one of fewer channels.
    matrix: Float[Array, "k m"]
    bias: Float[Array, "f"] | None  # to be added, where it is not among the matrix's rows


def convolve(
    kernel: Float[Array, "3 3 c f"], bias: Float[Array, "f"] | None, x: Float[Array, "n h w c"]
) -> Float[Array, "n h w f"]:
    """As `lpg.agents.convolution.convolve`, plus the bias; in the type of `x`."""
    return convolve_by(operand(kernel, bias, x.shape[2], x.dtype), x)


def operand(
    kernel: Float[Array, "3 3 c f"], bias: Float[Array, "f"] | None, width: int, dtype: DTypeLike
) -> Operand:
    """For boards of this width and type."""
    bands = _bands(kernel, width).astype(dtype)
    _, _, channels, _, features = bands.shape
    if channels > features:
        beside = jnp.moveaxis(bands, 0, 2).reshape((width * channels, 3 * width * features))
        return Operand(beside, bias)
    below = bands.reshape((3 * width * channels, width * features))
    if bias is None:
        return Operand(below, None)
    # Rows in multiples of 8 are what products are fastest with.
    extra = jnp.zeros((8 - len(below) % 8, width * features), dtype)
    extra = extra.at[0].set(jnp.tile(bias, width).astype(dtype))
    return Operand(jnp.concatenate([below, extra]), None)


def convolve_by(layer: Operand, x: Float[Array, "n h w c"]) -> Float[Array, "n h w f"]:
    """Boards times the matrix, plus the bias."""
    rows, length = _rows(x), len(layer.matrix)
    if length == rows.shape[-1]:
        out = _shifted_sum(rows @ layer.matrix, layer.bias)
    else:
        out = _three_rows(rows, length - 3 * rows.shape[-1]) @ layer.matrix
    return out.reshape((*x.shape[:3], -1))


def correlate(x: Float[Array, "n h w c"], y: Float[Array, "n h w f"]) -> Float[Array, "3 3 c f"]:
    """As `lpg.agents.convolution.correlate`, in float32 or what is wider.

    The array of fewer channels is the one that is read three rows at a time; of two equals it is
    `y`, which the derivative by `x` reads so as well.
    """
    width, channels, features = x.shape[2], x.shape[3], y.shape[3]
    if channels < features:
        bands = _product_over_rows(_three_rows(_rows(x)), _rows(y))
        return _off_diagonals(bands.reshape((3, width, channels, width, features)))
    bands = _product_over_rows(_three_rows(_rows(y)), _rows(x))
    by_y = _off_diagonals(bands.reshape((3, width, features, width, channels)))
    return jnp.swapaxes(by_y[::-1, ::-1], 2, 3)


def accumulated(dtype: DTypeLike) -> DTypeLike:
    """The type that sums of products of `dtype` are kept in."""
    return jnp.promote_types(dtype, jnp.float32)


def _rows(x: Float[Array, "n h w c"]) -> Float[Array, "n h wc"]:
    return x.reshape((*x.shape[:2], -1))


def _three_rows(rows: Float[Array, "n h k"], extra: int = 0) -> Float[Array, "n h m"]:
    """The row above, the row itself and the row below; zeros beyond the board.

    `extra`: how many columns follow, of which the first, for a bias, is of ones.
    """
    n, height, _ = rows.shape
    padded = jnp.pad(rows, ((0, 0), (1, 1), (0, 0)))
    parts = [padded[:, i : i + height] for i in range(3)]
    if extra:
        one = (np.arange(extra) == 0).astype(rows.dtype)
        parts.append(jnp.broadcast_to(one[None, None], (n, height, extra)))
    return jnp.concatenate(parts, axis=-1)


def _shifted_sum(
    parts: Float[Array, "n h m"], bias: Float[Array, "f"] | None
) -> Float[Array, "n h k"]:
    """What each row gives to the row below, to itself and to the row above, summed by receiver."""
    dtype = parts.dtype
    above, itself, below = jnp.split(parts.astype(accumulated(dtype)), 3, axis=-1)
    above = jnp.pad(above[:, :-1], ((0, 0), (1, 0), (0, 0)))
    below = jnp.pad(below[:, 1:], ((0, 0), (0, 1), (0, 0)))
    out = above + itself + below
    if bias is not None:
        out = out + jnp.tile(bias, out.shape[-1] // len(bias))[None, None]
    return out.astype(dtype)


def _product_over_rows(a: Float[Array, "n h k"], b: Float[Array, "n h m"]) -> Float[Array, "k m"]:
    a, b = a.reshape((-1, a.shape[-1])), b.reshape((-1, b.shape[-1]))
    return jnp.matmul(a.T, b, preferred_element_type=accumulated(a.dtype))


def _touches(width: int, column: int) -> Bool[np.ndarray, "w w"]:
    """Whether cell u is input to cell v by this column of the kernel: u = v + column - 1."""
    return np.eye(width, k=1 - column, dtype=bool)


def _bands(kernel: Float[Array, "3 3 c f"], width: int) -> Float[Array, "3 w c w f"]:
    blocks = kernel[:, :, None, :, None, :]
    zero = jnp.zeros((), kernel.dtype)
    left, middle, right = (
        jnp.where(_touches(width, j)[None, :, None, :, None], blocks[:, j], zero) for j in range(3)
    )
    return left + middle + right


def _off_diagonals(bands: Float[Array, "3 w c w f"]) -> Float[Array, "3 3 c f"]:
    """The transpose of `_bands`."""
    width, zero = bands.shape[1], jnp.zeros((), bands.dtype)
    columns = [
        jnp.sum(jnp.where(_touches(width, j)[None, :, None, :, None], bands, zero), axis=(1, 3))
        for j in range(3)
    ]
    return jnp.stack(columns, axis=1)
