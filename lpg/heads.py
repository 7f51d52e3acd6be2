"""What an agent puts out: the heads that a rule asks for, and what is read off their logits."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from lpg.shapes import check_shape


class Heads(NamedTuple):
    """Widths of the outputs that a rule asks its agent for; 0 means the head is absent."""

    logits: int  # A, one per action
    prediction: int = 0  # m, logits of the prediction vector y
    value: int = 0  # scalars beside them: V(s), or quantiles of the return
    # Dense layers of its own between the torso and these outputs; 0 is as wide as the torso ends.
    hidden: tuple[int, ...] = ()
    auxiliary: "tuple[Heads, ...]" = ()  # further heads on the same torso, with none of their own
    condition: int = 0  # width of what the network is told besides the observation
    value_alone_is_told: bool = False  # of the main head, which then has no layers of its own

    @property
    def own(self) -> int:
        """Width of the main head's outputs."""
        return self.logits + self.prediction + self.value

    @property
    def total(self) -> int:
        """Width of the agent's output vector, auxiliary heads behind the main one."""
        return self.own + sum(head.own for head in self.auxiliary)


class AgentOutputs(NamedTuple):
    """What the agent says of a batch of states; leading axes as the observations'."""

    logits: Float[Array, "*batch A"]  # masked: -1e9 for actions the environment lacks
    prediction: Float[Array, "*batch m"]  # logits of y; m = 0 where absent
    value: Float[Array, "*batch v"]  # v = 1, or 0 where absent
    auxiliary: "tuple[AgentOutputs, ...]" = ()

    @property
    def heads(self) -> "tuple[AgentOutputs, ...]":
        """The main head, which acts, then the auxiliary ones."""
        return (self, *self.auxiliary)


def split_heads(heads: Heads, vector: Shaped[Array, "*batch n"]) -> AgentOutputs:
    """Cut the agent's output vector into logits, prediction and value, head by head.

    Raises ValueError for a vector that is not `heads.total` wide.
    """
    check_shape("vector", vector, (*vector.shape[:-1], heads.total), _width(heads))
    first, second = heads.logits, heads.logits + heads.prediction
    auxiliary, begin = [], heads.own
    for head in heads.auxiliary:
        auxiliary.append(split_heads(head, vector[..., begin : begin + head.own]))
        begin += head.own
    return AgentOutputs(
        logits=vector[..., :first],
        prediction=vector[..., first:second],
        value=vector[..., second : heads.own],
        auxiliary=tuple(auxiliary),
    )


def _width(heads: Heads) -> str:
    parts = f"{heads.logits} logits, {heads.prediction} of the prediction and {heads.value} values"
    others = f", then {len(heads.auxiliary)} auxiliary heads" if heads.auxiliary else ""
    return f"its last axis heads.total: {parts}{others}"


def action_log_prob(
    logits: Float[Array, "*batch A"], action: Int[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """log pi(a|s) of the actions taken; raises ValueError unless there is one a row of logits."""
    check_shape("action", action, logits.shape[:-1], f"one a row of logits {list(logits.shape)}")
    log_probs = jax.nn.log_softmax(logits)
    # A masked sum, not an index: the transpose of an index is a scatter, element after element.
    taken = jax.nn.one_hot(action, logits.shape[-1], dtype=bool)
    return jnp.sum(jnp.where(taken, log_probs, 0.0), axis=-1)


def entropy(logits: Float[Array, "*batch n"]) -> Float[Array, "*batch"]:
    """Entropy of softmax(logits) in nats; masked entries (-1e9) contribute exactly 0."""
    log_probs = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)


def mask_logits(
    logits: Float[Array, "*batch A"], action_mask: Bool[Array, "A"]
) -> Float[Array, "*batch A"]:
    """Logits with invalid actions at -1e9: probability exactly 0, gradients finite."""
    mask = action_mask.reshape((1,) * (logits.ndim - 1) + action_mask.shape)
    return jnp.where(mask, logits, -1e9)


def mask_outputs(outputs: AgentOutputs, action_mask: Bool[Array, "A"]) -> AgentOutputs:
    """The logits of every head masked."""
    return outputs._replace(
        logits=mask_logits(outputs.logits, action_mask),
        auxiliary=tuple(mask_outputs(head, action_mask) for head in outputs.auxiliary),
    )
