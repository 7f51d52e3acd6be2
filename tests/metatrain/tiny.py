"""One small engine that the engine's tests share."""

from dataclasses import replace

import jax.numpy as jnp

from metatrain.config import CENTRED, MetaTrainConfig
from metatrain.shares import unmeasured

TINY = MetaTrainConfig(
    envs=("sparse", "short", "long_noisy", "distractor"),
    lifetimes=8,
    num_envs=4,
    num_steps=5,
    num_updates=2,
    meta_steps=8,
    validate_every=4,
    validation_seeds=1,
    validation_updates=10,
    lifetime_scale=0.0004,
    meta_learning_rate=1e-2,
    rule=CENTRED(hidden_size=8, prediction_size=5, embedding_size=4),
)

# What programs of whole meta-steps are compiled for: those who ask for the same devices and chunks
# get the same one. A cohort of two environments and one of one.
SHARED = replace(TINY, envs=("short", "short_noisy", "distractor"), lifetimes=24)


def unbounded(config, keys):
    """Shares that bound nothing; `keys` are per cohort the lifetimes'."""
    return unmeasured((jnp.full((config.num_updates,), jnp.inf),) * len(keys), keys)
