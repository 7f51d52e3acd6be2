"""LPG-V as an `UpdateRule`: only the policy's update is learned, beside an ordinary value function.

The agent has a value V(s), trained by TD(lambda), instead of a prediction vector whose meaning the
rule would have to discover. Source: Oh et al. 2020, section 4.1 (a baseline of Figs. 3 and 7). The
paper says no more than that; what it leaves open is told below where it is decided.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from lpg.heads import AgentOutputs, Heads, action_log_prob
from lpg.losses.returns import lambda_returns
from lpg.network.rule_network import LPGVNetwork
from lpg.precision import Precision
from lpg.rule import Hypers, RuleInputs, RuleParams, check_inputs, check_loss
from lpg.rules.learned import HeadActivation, StoredArchitecture
from lpg.trajectory import Trajectory

MAX_ERROR = 1.0  # TD errors beyond it pull no harder; rewards of training are in {-1, 0, 1}


class LPGVTargets(NamedTuple):
    """The learned strength of the policy's update, and the value's ordinary target."""

    pi_hat: Float[Array, "T B"]  # how strongly to reinforce the action taken
    value_target: Float[Array, "T B"]  # the lambda-return that V should move to


@dataclass(frozen=True)
class LPGV(StoredArchitecture):
    """The learned rule; its fields are the architecture stored in a rule file's header."""

    kind: ClassVar[str] = "lpg_v"
    push: ClassVar[str] = "pi_hat"
    results: ClassVar[tuple[str, ...]] = LPGVTargets._fields

    hidden_size: int = 256  # LSTM units, as LPG's (B.1)
    head_activation: HeadActivation = "relu"  # between the LSTM and its head
    lam: float = 0.95  # lambda of the value's TD(lambda) (the paper is silent)
    precision: Precision = "auto"
    """Of the LSTM's activations and matmuls; auto is bfloat16 on GPU and TPU, float32 on CPU."""
    fused_lstm: bool = False
    """On TPU, the LSTM as one Pallas kernel (lpg/network/lstm_fused.py) instead of XLA's scan."""

    def __post_init__(self) -> None:
        self.refuse_unusable("hidden_size")
        if not 0.0 <= self.lam <= 1.0:
            raise ValueError(f"LPGV's lam must lie in [0, 1], got {self.lam}.")

    @property
    def network(self) -> LPGVNetwork:
        """The flax module, laid out for the platform at hand (`layout`)."""
        return LPGVNetwork(
            hidden_size=self.hidden_size,
            **self.layout(),
        )

    def heads(self, num_actions: int) -> Heads:
        """One logit an action, and a value; no prediction."""
        return Heads(logits=num_actions, value=1)

    def targets(self, rule_params: RuleParams, inputs: RuleInputs) -> LPGVTargets:
        """V enters the network raw; only pi_hat depends on eta."""
        check_inputs(inputs, self.heads(1))
        pi_hat: Any = self.network.apply({"params": rule_params}, inputs)
        discount = inputs.not_done * inputs.gamma[None, :]
        value_target = lambda_returns(inputs.reward, discount, inputs.value[..., 0], self.lam)
        return LPGVTargets(pi_hat=pi_hat, value_target=value_target)

    def penalties(self, targets: LPGVTargets) -> dict[str, Float[Array, "*L T B"]]:
        """The square of pi_hat; the value's target is not the rule's choice."""
        return {"pi_hat": targets.pi_hat**2}

    def loss(
        self,
        outputs: AgentOutputs,
        trajectory: Trajectory,
        targets: LPGVTargets,
        hypers: Hypers,
    ) -> Float[Array, ""]:
        """-log pi(a|s) pi_hat + alpha_y huber(V - value_target), averaged over T and B.

        alpha_y weights the value's loss as it does the prediction's in LPG (our reading). The error
        is squared up to MAX_ERROR and grows linearly beyond: with Table 3's learning rates of 80 a
        state that a tenth of the batch visits is moved by eight times its mean error, from which a
        squared loss diverges to infinity; the Kullback-Leibler loss of LPG has bounded gradients.
        """
        check_loss(outputs, trajectory, targets, self.heads(1))
        log_prob = action_log_prob(outputs.logits[:-1], trajectory.action)
        value = outputs.value[:-1, ..., 0]
        value_loss = optax.huber_loss(value, targets.value_target, delta=MAX_ERROR)
        return jnp.mean(-log_prob * targets.pi_hat + hypers.prediction_cost * value_loss)
