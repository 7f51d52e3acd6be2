"""Each lifetime's share of the meta-gradient, measured and bounded.

eta enters a window only through the rule's targets, so a lifetime's share of the meta-gradient is
the rule's Jacobian times the cotangent of that lifetime's targets. Bounding the cotangent's norm
bounds the share, without a gradient per lifetime being formed. One lifetime could otherwise own
the meta-gradient: of lives whose median gradient norm is .02, one of norm 16 was seen.

The bound is `max_share` typical norms of the cohort. What is typical is remembered from earlier
meta-steps, so that it is the same for every device and chunk, and is data within the window.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

DECAY = 0.9  # of the running mean of the medians


class Share(NamedTuple):
    """What one cohort's targets are passed through, update by update."""

    bound: Float[Array, "*K"]  # norm beyond which a lifetime's cotangent is scaled down
    tap: Float[Array, "*K L"]  # zeros; its gradient is each lifetime's norm before scaling


def unmeasured(
    bounds: tuple[Float[Array, "*K"], ...], lifetimes: tuple[Array, ...]
) -> tuple[Share, ...]:
    """Per cohort, what a window passes its targets through; `lifetimes` are any arrays [L, ...]."""
    return tuple(
        Share(bound, jnp.zeros((*bound.shape, len(x)), bound.dtype))
        for bound, x in zip(bounds, lifetimes, strict=True)
    )


@jax.custom_vjp
def bounded(targets: Any, share: Share) -> Any:
    """The targets of one update, leaves [L, ...], as they are.

    Backwards, lifetime l's cotangent is scaled by min(1, bound / its norm), and is zero where that
    norm is not finite: such a lifetime costs its own share and no other's.
    """
    del share
    return targets


def _forward(targets: Any, share: Share) -> tuple[Any, Array]:
    return targets, share.bound


def _backward(bound: Array, targets_bar: Any) -> tuple[Any, Share]:
    squares = [jnp.sum(x * x, axis=range(1, x.ndim)) for x in jax.tree.leaves(targets_bar)]
    norm = jnp.sqrt(sum(squares[1:], squares[0]))
    scale = jnp.minimum(1.0, bound / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny))

    def scaled(x: Array) -> Array:
        shape = (-1,) + (1,) * (x.ndim - 1)
        return jnp.where(jnp.isfinite(norm).reshape(shape), x * scale.reshape(shape), 0.0)

    return jax.tree.map(scaled, targets_bar), Share(jnp.zeros_like(bound), norm)


bounded.defvjp(_forward, _backward)


def typical_at_first(num_updates: int) -> Float[Array, "K"]:
    """Before anything was measured: nothing is bounded."""
    return jnp.full((num_updates,), jnp.inf, jnp.float32)


def bound_of(typical: Float[Array, "K"], max_share: float | None) -> Float[Array, "K"]:
    """What a share is bounded to; nothing where `max_share` is None, or what is typical is zero."""
    if max_share is None:
        return jnp.full_like(typical, jnp.inf)
    return jnp.where(typical > 0, max_share * typical, jnp.inf)


def typical_after(typical: Float[Array, "K"], norms: Float[Array, "L K"]) -> Float[Array, "K"]:
    """The running mean of the medians over lifetimes of finite norm."""
    median = jnp.nanmedian(jnp.where(jnp.isfinite(norms), norms, jnp.nan), axis=0)
    mixed = jnp.where(jnp.isfinite(typical), DECAY * typical + (1 - DECAY) * median, median)
    return jnp.where(jnp.isfinite(median), mixed, typical)


def is_finite(tree: Any) -> Bool[Array, ""]:
    """Whether all numbers of one lifetime are."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]))
