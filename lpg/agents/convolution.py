"""3x3 convolutions, stride 1, SAME, of many lifetimes with weights of their own.

A convolution is one of three derivatives of the same form, linear in kernel, input and output:
those with respect to the input and to the kernel are a convolution with the reversed kernel and a
correlation, and so on however often one differentiates. `convolve` and `correlate` say so
themselves: left to JAX, the sums over nine shifted views of the backward pass, and of its own, took
most of a meta-step (docs/performance.md).

On a CPU, lifetimes go one after the other: XLA has a fast convolution for one set of weights, but
for vmapped ones only a grouped convolution, many times slower. On accelerators all go at once, as
the matmuls of `lpg/agents/banded.py`, where boards may be bfloat16; parameters and their gradients
are float32 in any case.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from lpg.agents import banded
from lpg.platform import platform

FORM = ("NHWC", "HWIO", "NHWC")  # of boards and kernels, the one that CPUs are fast at


@jax.custom_vjp
def convolve(
    kernel: Float[Array, "3 3 c f"], x: Float[Array, "n h w c"]
) -> Float[Array, "n h w f"]:
    """Cross-correlation as in `lax.conv`, zeros around the edges."""
    return _one_at_a_time_on_cpu(_convolve)(kernel, x)


@jax.custom_vjp
def correlate(x: Float[Array, "n h w c"], y: Float[Array, "n h w f"]) -> Float[Array, "3 3 c f"]:
    """The gradient of <convolve(kernel, x), y> with respect to the kernel."""
    return _one_at_a_time_on_cpu(_correlate)(x, y)


@jax.custom_vjp
def convolve_and_add(
    kernel: Float[Array, "3 3 c f"], bias: Float[Array, "f"], x: Float[Array, "n h w c"]
) -> Float[Array, "n h w f"]:
    """`convolve` plus a bias, in one program of accelerators."""
    return banded.convolve(kernel, bias, x)


def _convolve_backward(saved: tuple[Array, Array], y_bar: Array) -> tuple[Array, Array]:
    kernel, x = saved
    return correlate(x, y_bar), convolve(turned(kernel), y_bar)


def _correlate_backward(saved: tuple[Array, Array], kernel_bar: Array) -> tuple[Array, Array]:
    x, y = saved
    return convolve(turned(kernel_bar), y), convolve(kernel_bar, x)


def _convolve_and_add_backward(
    saved: tuple[Array, Array, Array], y_bar: Array
) -> tuple[Array, Array, Array]:
    kernel, bias, x = saved
    by_kernel, by_x = _convolve_backward((kernel, x), y_bar)
    return by_kernel, jnp.sum(y_bar, (0, 1, 2), dtype=bias.dtype), by_x


def _convolve_and_add_forward(
    kernel: Array, bias: Array, x: Array
) -> tuple[Array, tuple[Array, Array, Array]]:
    return convolve_and_add(kernel, bias, x), (kernel, bias, x)


convolve_and_add.defvjp(_convolve_and_add_forward, _convolve_and_add_backward)
convolve.defvjp(lambda kernel, x: (convolve(kernel, x), (kernel, x)), _convolve_backward)
correlate.defvjp(lambda x, y: (correlate(x, y), (x, y)), _correlate_backward)


@jax.custom_vjp
def narrow_product(a: Float[Array, "n k"], b: Float[Array, "k m"]) -> Float[Array, "n m"]:
    """a @ b of bfloat16 operands, in float32; its derivatives of every order are such products."""
    a, b = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)


def _narrow_product_backward(saved: tuple[Array, Array], bar: Array) -> tuple[Array, Array]:
    a, b = saved
    return narrow_product(bar, b.T).astype(a.dtype), narrow_product(a.T, bar).astype(b.dtype)


narrow_product.defvjp(lambda a, b: (narrow_product(a, b), (a, b)), _narrow_product_backward)


class Conv3x3(nn.Module):
    """A layer of `convolve`; the kernel's rows are ordered by shift, then channel."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w f"]:
        channels = x.shape[-1]
        shape = (9 * channels, self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        kernel = kernel.reshape((3, 3, channels, self.features))
        if platform() == "cpu":
            return convolve(kernel, x) + bias[None, None, None]
        return convolve_and_add(kernel, bias, x)


class DenseOnBoards(nn.Module):
    """`nn.Dense` on boards flattened planes first, without transposing them: its kernel is."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n f"]:
        shape = (x[0].size, self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        rows, flat = _channels_last(kernel, x.shape[1:]), x.reshape((x.shape[0], -1))
        product = flat @ rows if x.dtype == rows.dtype else narrow_product(flat, rows)
        return product + bias[None]


def fixed_boards(
    params: Any, board: tuple[int, int, int], dtype: DTypeLike
) -> Callable[[Float[Array, "n h w c"]], Float[Array, "n d"]]:
    """The layers that read boards [h, w, c], with parameters that stay, for accelerators.

    What depends on parameters alone is made here, once for all calls. `params` holds those of
    `Conv3x3` as conv0, conv1, ..., and of `DenseOnBoards` as dense0. No gradient is meant to be
    taken: that of a banded matrix has the matrix's size.
    """
    height, width, channels = board
    convolutions = []
    while (layer := params.get(f"conv{len(convolutions)}")) is not None:
        kernel = layer["kernel"].reshape((3, 3, channels, -1))
        convolutions.append(banded.operand(kernel, layer["bias"], width, dtype))
        channels = kernel.shape[-1]
    dense = params["dense0"]
    rows = _channels_last(dense["kernel"], (height, width, channels)).astype(dtype)

    def layers(x: Float[Array, "n h w c"]) -> Float[Array, "n d"]:
        for convolution in convolutions:
            x = nn.relu(banded.convolve_by(convolution, x))
        flat = x.reshape((x.shape[0], -1))
        product = jnp.matmul(flat, rows, preferred_element_type=dense["bias"].dtype)
        return nn.relu(product + dense["bias"][None])

    return layers


def _channels_last(kernel: Float[Array, "chw f"], board: tuple[int, ...]) -> Float[Array, "hwc f"]:
    """The rows of a dense kernel, planes first, in the order of boards [h, w, c]."""
    height, width, channels = board
    planes = kernel.reshape((channels, height, width, -1))
    return jnp.moveaxis(planes, 0, 2).reshape(kernel.shape)


def turned(kernel: Float[Array, "kh kw c f"]) -> Float[Array, "kh kw f c"]:
    """By half a turn, from outputs to inputs."""
    return jnp.swapaxes(kernel[::-1, ::-1], 2, 3)


def _one_at_a_time_on_cpu(function: Callable[..., Array]) -> Callable[..., Array]:
    return sequential_vmap(function) if platform() == "cpu" else function


def _convolve(kernel: Array, x: Array) -> Array:
    if platform() == "cpu":
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=FORM)
    return banded.convolve(kernel, None, x)


def _correlate(x: Array, y: Array) -> Array:
    if platform() != "cpu":
        return banded.correlate(x, y)
    if x.shape[-1] > y.shape[-1]:  # the views are nine times their array: rather the smaller's
        return turned(_correlate(y, x))
    y_rows = y.reshape((-1, y.shape[-1]))
    return (_views(x).T @ y_rows).reshape((3, 3, x.shape[-1], y.shape[-1]))


def _views(x: Float[Array, "n h w c"]) -> Float[Array, "cells k"]:
    """[n * h * w, 9 * c]: each cell's neighbourhood, zeros beyond the edges."""
    _, height, width, channels = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifts = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifts, axis=-1).reshape((-1, 9 * channels))
