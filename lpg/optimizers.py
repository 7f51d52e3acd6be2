"""Agent optimisers that one can differentiate through; learning rates are data.

A transformation turns gradients into a direction; `apply_direction` takes the step with the
lifetime's own learning rate, so that lifetimes with different rates share one program.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

OptimizerName = Literal["sgd", "adam"]


def scale_by_adam_constant_root(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Adam's direction, its second moment's root held constant for outer gradients.

    optax's own `scale_by_adam` gives NaN meta-gradients as soon as one parameter has an exactly
    zero gradient (the derivative of sqrt at 0). Values equal optax's.
    """
    return _adam(b1, b2, eps, jax.lax.stop_gradient, jnp.sqrt)


def scale_by_adam_whole(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Adam's direction, differentiable through both moments; where the second is 0, its root is a
    constant. Values equal optax's.

    Source: spec/bias.md, section 8 (the authors' code replaces the NaN there by 0).
    """

    def root(v: Array) -> Array:
        some = v > 0
        return jnp.where(some, jnp.sqrt(jnp.where(some, v, 1.0)), 0.0)

    return _adam(b1, b2, eps, lambda x: x, root)


def _adam(
    b1: float, b2: float, eps: float, seen: Callable[[Any], Any], root: Callable[[Array], Array]
) -> optax.GradientTransformation:
    """`seen`: what the second moment sees of gradients and of itself."""
    adam = optax.scale_by_adam(b1=b1, b2=b2, eps=eps)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, optax.ScaleByAdamState]:
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(seen(updates), seen(state.nu), b2, 2)
        count = optax.safe_increment(state.count)
        mu_hat = optax.tree.bias_correction(mu, b1, count)
        nu_hat = optax.tree.bias_correction(nu, b2, count)
        direction = jax.tree.map(lambda m, v: m / (root(v) + eps), mu_hat, nu_hat)
        return direction, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(adam.init, update)


def clip_by_global_norm(
    max_norm: float, differentiate: bool = False
) -> optax.GradientTransformation:
    """optax's clip, its factor held constant for outer gradients unless told otherwise."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        # The norm itself has no derivative where it is 0.
        square = optax.tree.norm(updates, squared=True)
        factor = max_norm / jnp.sqrt(jnp.maximum(square, max_norm**2))
        factor = factor if differentiate else jax.lax.stop_gradient(factor)
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def impala_optimizer(
    num_updates: int,
    *,
    max_norm: float = 40.0,
    decay: float = 0.99,
    eps: float = 0.1,
    initial_scale: float = 1.0,
    constant_rate: bool = False,
    differentiate_clip: bool = False,
) -> optax.GradientTransformation:
    """RMSProp without momentum as IMPALA has it: clipped, epsilon inside the root, the accumulator
    1 at first (TensorFlow's), the step falling linearly to 0 over `num_updates` updates, unless it
    is to be constant.

    Source: Espeholt et al. 2018, table D.1; Xu et al. 2018, Table 2.
    """
    return optax.chain(
        clip_by_global_norm(max_norm, differentiate_clip),
        optax.scale_by_rms(decay, eps, initial_scale=initial_scale, eps_in_sqrt=True),
        optax.scale_by_schedule(optax.linear_schedule(1.0, float(constant_rate), num_updates)),
    )


def falling_adam(num_updates: int, max_norm: float = 0.5) -> optax.GradientTransformation:
    """Adam of clipped gradients, whole for outer ones but for the clip's factor, its step falling
    linearly to 0 over `num_updates` updates (spec/bias.md, section 8)."""
    return optax.chain(
        clip_by_global_norm(max_norm),
        scale_by_adam_whole(),
        optax.scale_by_schedule(optax.linear_schedule(1.0, 0.0, num_updates)),
    )


SGD = optax.identity()  # one object, so that an update can tell it and keep a table's step sparse


def make_optimizer(name: OptimizerName) -> optax.GradientTransformation:
    """The optimisers of Oh et al. 2020, Table 3."""
    if name == "sgd":
        return SGD
    if name == "adam":
        return scale_by_adam_constant_root()
    raise ValueError(f"Unknown optimiser {name!r}; known are 'sgd' and 'adam'.")


def apply_direction(params: Any, direction: Any, learning_rate: Float[Array, ""]) -> Any:
    """params - learning_rate * direction."""
    return jax.tree.map(lambda p, d: p - learning_rate.astype(p.dtype) * d, params, direction)
