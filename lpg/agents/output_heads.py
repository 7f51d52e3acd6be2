"""From a torso's features to an agent's vector: the heads that a rule asks for."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from lpg.agent import Condition
from lpg.heads import Heads

EMBEDDING = 16  # numbers that a condition comes to (Xu et al. 2018, appendix C)


def output_heads(
    features: Float[Array, "n f"], heads: Heads, condition: Condition = None
) -> Float[Array, "n out"]:
    """Layers of whatever module calls this: one linear layer for a head without hidden ones.

    A condition is embedded linearly, joined to the features, and both go through a dense layer as
    wide as these (Xu et al. 2018, "eta-embedding"), for all heads or for the value alone.
    """
    if heads.condition and heads.value_alone_is_told:
        policy = nn.Dense(heads.own - heads.value, name="heads")(features)
        value = nn.Dense(heads.value, name="value")(_told(features, condition))
        return jnp.concatenate([policy, value], axis=-1)
    if heads.condition:
        features = _told(features, condition)
    parts = [_head(features, heads, "")]
    parts += [_head(features, head, f"_{i}") for i, head in enumerate(heads.auxiliary, start=1)]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)


def blank_condition(heads: Heads) -> Condition:
    """For making parameters."""
    return jnp.zeros(heads.condition) if heads.condition else None


def _head(features: Float[Array, "n f"], head: Heads, suffix: str) -> Float[Array, "n out"]:
    own = features.shape[-1]
    for i, width in enumerate(head.hidden):
        features = nn.relu(nn.Dense(width or own, name=f"hidden{i}{suffix}")(features))
    return nn.Dense(head.own, name=f"heads{suffix}")(features)


def _told(features: Float[Array, "n f"], condition: Condition) -> Float[Array, "n f"]:
    told = nn.Dense(EMBEDDING, use_bias=False, name="condition")(_required(condition))
    told = jnp.broadcast_to(told, (*features.shape[:-1], EMBEDDING))
    joined = jnp.concatenate([features, told.astype(features.dtype)], axis=-1)
    return nn.relu(nn.Dense(features.shape[-1], name="conditioned")(joined))


def _required(condition: Condition) -> Float[Array, "c"]:
    if condition is None:
        raise ValueError("These heads must be told a condition (heads.condition > 0).")
    return condition
