"""Adam on eta, with the clip before it and the guard around it."""

import optax

from metatrain.config import MetaTrainConfig


def meta_optimizer(config: MetaTrainConfig) -> optax.GradientTransformation:
    """Adam on the clipped meta-gradient; a non-finite one changes nothing and is counted.

    The training loop stops when too many come in a row; optax alone would let one through.
    """
    adam = optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm),
        optax.adam(config.meta_learning_rate, eps=config.meta_adam_epsilon),
    )
    return optax.apply_if_finite(adam, max_consecutive_errors=2**30)
