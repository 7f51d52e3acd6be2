"""Agent optimisers that one can differentiate through; learning rates are data.

A transformation turns gradients into a direction; `apply_direction` takes the step with the
lifetime's own learning rate, so that lifetimes with different rates share one program.
"""

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
    adam = optax.scale_by_adam(b1=b1, b2=b2, eps=eps)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, optax.ScaleByAdamState]:
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(
            jax.lax.stop_gradient(updates), jax.lax.stop_gradient(state.nu), b2, 2
        )
        count = optax.safe_increment(state.count)
        mu_hat = optax.tree.bias_correction(mu, b1, count)
        nu_hat = optax.tree.bias_correction(nu, b2, count)
        direction = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mu_hat, nu_hat)
        return direction, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(adam.init, update)


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
