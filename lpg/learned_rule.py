"""Learned Policy Gradient as an `UpdateRule` (Oh et al. 2020, Eq. 2)."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from envs.trajectory import Trajectory
from lpg.architecture import HeadActivation, Precision, StoredArchitecture
from lpg.kl_divergence import kl_divergence
from lpg.network import LPGNetwork
from lpg.rule import AgentOutputs, Heads, Hypers, RuleInputs, RuleParams, action_log_prob


class LPGTargets(NamedTuple):
    pi_hat: Float[Array, "T B"]  # how strongly to reinforce the action taken
    y_hat_logits: Float[Array, "T B m"]

    @property
    def y_hat(self) -> Float[Array, "*L T B m"]:
        """The distribution that y should move to; with or without an axis of lifetimes."""
        return jax.nn.softmax(self.y_hat_logits)


@dataclass(frozen=True)
class LPG(StoredArchitecture):
    """The learned rule; its fields are the architecture stored in a rule file's header."""

    kind: ClassVar[str] = "lpg"
    results: ClassVar[tuple[str, ...]] = ("pi_hat", "y_hat")

    hidden_size: int = 256  # LSTM units (B.1)
    prediction_size: int = 30  # m (section 4.1)
    embedding_size: int = 16  # phi: Dense(16)-Dense(1) (B.1)
    head_activation: HeadActivation = "relu"  # between the LSTM and its heads
    precision: Precision = "auto"
    """Of the LSTM's activations and matmuls; auto is bfloat16 on GPU and TPU, float32 on CPU."""
    fused_lstm: bool = False
    """On TPU, the LSTM as one Pallas kernel (lpg/lstm_fused.py) instead of XLA's scan."""

    def __post_init__(self):
        self.refuse_unusable("hidden_size", "prediction_size", "embedding_size")

    @property
    def network(self) -> LPGNetwork:
        return LPGNetwork(
            hidden_size=self.hidden_size,
            prediction_size=self.prediction_size,
            embedding_size=self.embedding_size,
            **self.layout(),
        )

    def heads(self, num_actions: int) -> Heads:
        return Heads(logits=num_actions, prediction=self.prediction_size)

    def targets(self, rule_params: RuleParams, inputs: RuleInputs) -> LPGTargets:
        outputs: Any = self.network.apply({"params": rule_params}, inputs)
        pi_hat, y_hat_logits = outputs
        return LPGTargets(pi_hat=pi_hat, y_hat_logits=y_hat_logits)

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
        kl = kl_divergence(outputs.prediction[:-1], targets.y_hat_logits)
        return jnp.mean(-log_prob * targets.pi_hat + hypers.kl_cost * kl)
