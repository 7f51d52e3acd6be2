"""KL(y || y_hat) between softmaxes, with its first two derivatives in closed form.

The agent's update takes its gradient and the meta-gradient differentiates that once more. Left to
automatic differentiation this is most of a tabular agent's work; by hand a derivative is a few
passes over the arrays.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_vjp
def kl_divergence(
    logits: Float[Array, "*batch m"], target_logits: Float[Array, "*batch m"]
) -> Float[Array, "*batch"]:
    """KL(softmax(logits) || softmax(target_logits)) in nats, as printed in Eq. 2."""
    y, log_ratio = _ratio(logits, target_logits)
    return jnp.sum(y * log_ratio, axis=-1)


@jax.custom_vjp
def kl_gradient(
    logits: Float[Array, "*batch m"], target_logits: Float[Array, "*batch m"]
) -> Float[Array, "*batch m"]:
    """Of the divergence with respect to `logits`: y (log y - log y_hat - KL)."""
    return _gradient(*_ratio(logits, target_logits))


def _ratio(logits: Array, target_logits: Array) -> tuple[Array, Array]:
    """y, and log y - log y_hat."""
    log_y = jax.nn.log_softmax(logits)
    return jnp.exp(log_y), log_y - jax.nn.log_softmax(target_logits)


def _gradient(y: Array, log_ratio: Array) -> Array:
    return y * (log_ratio - jnp.sum(y * log_ratio, axis=-1, keepdims=True))


def _divergence_forward(logits: Array, target_logits: Array) -> tuple[Array, tuple[Array, Array]]:
    return kl_divergence(logits, target_logits), (logits, target_logits)


def _divergence_backward(saved: tuple[Array, Array], bar: Array) -> tuple[Array, Array]:
    logits, target_logits = saved
    towards = jax.nn.softmax(target_logits) - jax.nn.softmax(logits)
    return bar[..., None] * kl_gradient(logits, target_logits), bar[..., None] * towards


def _gradient_forward(logits: Array, target_logits: Array) -> tuple[Array, tuple[Array, Array]]:
    y, log_ratio = _ratio(logits, target_logits)
    gradient = _gradient(y, log_ratio)
    return gradient, (y, gradient)


def _gradient_backward(saved: tuple[Array, Array], bar: Array) -> tuple[Array, Array]:
    y, gradient = saved
    centred = bar - jnp.sum(y * bar, axis=-1, keepdims=True)
    curved = jnp.sum(gradient * bar, axis=-1, keepdims=True)
    return centred * (gradient + y) - y * curved, -y * centred


kl_divergence.defvjp(_divergence_forward, _divergence_backward)
kl_gradient.defvjp(_gradient_forward, _gradient_backward)
