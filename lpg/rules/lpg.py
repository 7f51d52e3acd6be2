"""Learned Policy Gradient as an `UpdateRule` (Oh et al. 2020, Eq. 2)."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lpg.choices import refuse_other
from lpg.heads import AgentOutputs, Heads, action_log_prob
from lpg.losses.estimators import (
    LearnedSurrogate,
    policy_weight,
    refuse_surrogate,
    update_weight,
)
from lpg.losses.kl_divergence import kl_divergence
from lpg.network.rule_network import LPGNetwork, PredictionInput
from lpg.precision import Precision
from lpg.rule import Hypers, RuleInputs, RuleParams, check_inputs, check_loss
from lpg.rules.learned import HeadActivation, StoredArchitecture
from lpg.trajectory import Trajectory


class LPGTargets(NamedTuple):
    """pi_hat and y_hat of Eq. 2, the latter as logits."""

    pi_hat: Float[Array, "T B"]  # how strongly to reinforce the action taken
    y_hat_logits: Float[Array, "T B m"]
    # Of each trajectory's whole update, to be differentiated by who differentiates the update.
    weight: Float[Array, "T B"] | None = None

    def mean(self, each: Float[Array, "T B"]) -> Float[Array, ""]:
        """Over T and B, of a loss at each step, trajectories by their weights."""
        return jnp.mean(each if self.weight is None else self.weight * each)

    @property
    def y_hat(self) -> Float[Array, "*L T B m"]:
        """The distribution that y should move to; with or without an axis of lifetimes."""
        return jax.nn.softmax(self.y_hat_logits)


@dataclass(frozen=True)
class LPG(StoredArchitecture):
    """The learned rule; its fields are the architecture stored in a rule file's header."""

    kind: ClassVar[str] = "lpg"
    push: ClassVar[str] = "pi_hat"
    results: ClassVar[tuple[str, ...]] = ("pi_hat", "y_hat")

    hidden_size: int = 256  # LSTM units (B.1)
    prediction_size: int = 30  # m (section 4.1)
    embedding_size: int = 16  # phi: Dense(16)-Dense(1) (B.1)
    prediction_input: PredictionInput = "y"
    """What phi reads: y, as published and as in every rule file, or centred, m y - 1, which
    is of order one and zero for a uniform y. Elements of y are near 1/m and nearly alike in all
    states, and the return's gradient with respect to the y_hat head drowns."""
    head_activation: HeadActivation = "relu"  # between the LSTM and its heads
    precision: Precision = "auto"
    """Of the LSTM's activations and matmuls; auto is bfloat16 on GPU and TPU, float32 on CPU."""
    fused_lstm: bool = False
    """On TPU, the LSTM as one Pallas kernel (lpg/network/lstm_fused.py) instead of XLA's scan."""

    surrogate: LearnedSurrogate = "autodiff"
    """Of the agent's policy gradient (lpg/losses/estimators.py): the update is the same, what a
    meta-gradient through several updates sees of it is not. score alone has no bias, and weighs the
    whole update, predictions too."""

    not_stored: ClassVar[tuple[str, ...]] = (
        *StoredArchitecture.not_stored,
        "prediction_input",
        "surrogate",
    )

    def __post_init__(self) -> None:
        self.refuse_unusable("hidden_size", "prediction_size", "embedding_size")
        refuse_other("prediction_input", self.prediction_input, get_args(PredictionInput))
        refuse_surrogate(self.surrogate, LearnedSurrogate)

    @property
    def network(self) -> LPGNetwork:
        """The flax module, laid out for the platform at hand (`layout`)."""
        return LPGNetwork(
            hidden_size=self.hidden_size,
            prediction_size=self.prediction_size,
            embedding_size=self.embedding_size,
            prediction_input=self.prediction_input,
            **self.layout(),
        )

    def published(self) -> "LPG":
        """The same sizes, with y read as it is; `publish` makes eta fit."""
        return replace(self, prediction_input="y")

    def publish(self, rule_params: RuleParams) -> RuleParams:
        """W (m y - 1) + b = (m W) y + (b - sum of W's rows): phi's first layer takes up what it
        reads."""
        if self.prediction_input == "y":
            return rule_params
        hidden = rule_params["phi"]["hidden"]
        kernel = self.prediction_size * hidden["kernel"]
        return _with_phi_hidden(rule_params, kernel, hidden["bias"] - hidden["kernel"].sum(axis=0))

    def unpublish(self, rule_params: RuleParams) -> RuleParams:
        """K y + b = (K / m) (m y - 1) + (b + sum of K / m's rows), in phi's first layer."""
        if self.prediction_input == "y":
            return rule_params
        hidden = rule_params["phi"]["hidden"]
        kernel = hidden["kernel"] / self.prediction_size
        return _with_phi_hidden(rule_params, kernel, hidden["bias"] + kernel.sum(axis=0))

    def heads(self, num_actions: int) -> Heads:
        """One logit an action, and m for y; no value."""
        return Heads(logits=num_actions, prediction=self.prediction_size)

    def targets(self, rule_params: RuleParams, inputs: RuleInputs) -> LPGTargets:
        """One pass of the network, which reads trajectories backwards in time."""
        check_inputs(inputs, self.heads(1))
        outputs: Any = self.network.apply({"params": rule_params}, inputs)
        pi_hat, y_hat_logits = outputs
        weight = update_weight(self.surrogate, inputs.action_prob)
        return LPGTargets(pi_hat=pi_hat, y_hat_logits=y_hat_logits, weight=weight)

    def penalties(self, targets: LPGTargets) -> dict[str, Float[Array, "*L T B"]]:
        """Squares of pi_hat and of y_hat, whose weights are beta_2 and beta_3 of Eq. 5."""
        return {"pi_hat": targets.pi_hat**2, "y_hat": jnp.sum(targets.y_hat**2, axis=-1)}

    def loss(
        self,
        outputs: AgentOutputs,
        trajectory: Trajectory,
        targets: LPGTargets,
        hypers: Hypers,
    ) -> Float[Array, ""]:
        """-log pi(a|s) pi_hat + alpha_y KL(y || y_hat), averaged over T and B (Eq. 2).

        In place of log pi stands the surrogate's weight, of the same first derivative.

        The mean, not the sum: Table 3's learning rates of 20 to 80 presume it.
        """
        check_loss(outputs, trajectory, targets, self.heads(1), y_hat_logits=self.prediction_size)
        log_prob = action_log_prob(outputs.logits[:-1], trajectory.action)
        kl = kl_divergence(outputs.prediction[:-1], targets.y_hat_logits)
        weight = policy_weight(self.surrogate, log_prob, trajectory.done)
        return targets.mean(-weight * targets.pi_hat + hypers.prediction_cost * kl)


def _with_phi_hidden(rule_params: RuleParams, kernel: Any, bias: Any) -> RuleParams:
    phi = {**rule_params["phi"], "hidden": {"kernel": kernel, "bias": bias}}
    return {**rule_params, "phi": phi}
