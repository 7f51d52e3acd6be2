"""Learned Policy Gradient as an `UpdateRule` (Oh et al. 2020, Eq. 2)."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from envs.trajectory import Trajectory
from lpg.architecture import (
    HeadActivation,
    Precision,
    StoredArchitecture,
    layout,
    refuse_sizes_below_one,
    refuse_unknown,
)
from lpg.network import LPGNetwork
from lpg.rule import AgentOutputs, Heads, Hypers, RuleInputs, RuleParams, action_log_prob


class LPGTargets(NamedTuple):
    pi_hat: Float[Array, "T B"]  # how strongly to reinforce the action taken
    y_hat: Float[Array, "T B m"]  # the distribution that y should move to


@dataclass(frozen=True)
class LPG(StoredArchitecture):
    """The learned rule; its fields are the architecture stored in a rule file's header."""

    kind: ClassVar[str] = "lpg"

    hidden_size: int = 256  # LSTM units (B.1)
    prediction_size: int = 30  # m (section 4.1)
    embedding_size: int = 16  # phi: Dense(16)-Dense(1) (B.1)
    head_activation: HeadActivation = "relu"  # between the LSTM and its heads
    precision: Precision = "auto"
    """Of the LSTM's activations and matmuls; auto is bfloat16 on GPU and TPU, float32 on CPU."""

    def __post_init__(self):
        refuse_sizes_below_one(self, "hidden_size", "prediction_size", "embedding_size")
        refuse_unknown(self, head_activation=HeadActivation, precision=Precision)

    @property
    def network(self) -> LPGNetwork:
        return LPGNetwork(
            hidden_size=self.hidden_size,
            head_activation=self.head_activation,
            prediction_size=self.prediction_size,
            embedding_size=self.embedding_size,
            **layout(self.precision),
        )

    def heads(self, num_actions: int) -> Heads:
        return Heads(logits=num_actions, prediction=self.prediction_size)

    def targets(self, rule_params: RuleParams, inputs: RuleInputs) -> LPGTargets:
        outputs: Any = self.network.apply({"params": rule_params}, inputs)
        pi_hat, y_hat_logits = outputs
        return LPGTargets(pi_hat=pi_hat, y_hat=jax.nn.softmax(y_hat_logits))

    def loss(
        self,
        outputs: AgentOutputs,
        trajectory: Trajectory,
        targets: LPGTargets,
        hypers: Hypers,
    ) -> Float[Array, ""]:
        """-log pi(a|s) pi_hat + alpha_y KL(y || y_hat), averaged over T and B (Eq. 2).

        The mean, not the sum: Table 3's learning rates of 20 to 80 presume it.
        """
        log_prob = action_log_prob(outputs.logits[:-1], trajectory.action)
        kl = kl_divergence(outputs.prediction[:-1], targets.y_hat)
        return jnp.mean(-log_prob * targets.pi_hat + hypers.kl_cost * kl)


def kl_divergence(
    logits: Float[Array, "*batch m"], target: Float[Array, "*batch m"]
) -> Float[Array, "*batch"]:
    """KL(softmax(logits) || target) in nats, as printed in Eq. 2."""
    log_y = jax.nn.log_softmax(logits)
    # A softmax target underflows to 0 only beyond 87 nats; the floor keeps its log finite there.
    log_target = jnp.log(jnp.maximum(target, jnp.finfo(target.dtype).tiny))
    return jnp.sum(jnp.exp(log_y) * (log_y - log_target), axis=-1)
