"""Learned Policy Gradient as an `UpdateRule` (Oh et al. 2020, Eq. 2)."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from envs.trajectory import Trajectory
from lpg.network import LPGNetwork
from lpg.rule import AgentOutputs, Heads, Hypers, RuleInputs, RuleParams, action_log_prob

Precision = Literal["auto", "float32", "bfloat16"]


class LPGTargets(NamedTuple):
    pi_hat: Float[Array, "T B"]  # how strongly to reinforce the action taken
    y_hat: Float[Array, "T B m"]  # the distribution that y should move to


@dataclass(frozen=True)
class LPG:
    """The learned rule; its fields are the architecture stored in a rule file's header."""

    hidden_size: int = 256  # LSTM units (B.1)
    prediction_size: int = 30  # m (section 4.1)
    embedding_size: int = 16  # phi: Dense(16)-Dense(1) (B.1)
    head_activation: Literal["relu", "none"] = "relu"  # between the LSTM and its heads
    precision: Precision = "auto"
    """Of the LSTM's activations and matmuls; auto is bfloat16 on GPU and TPU, float32 on CPU."""

    def __post_init__(self):
        for field in ("hidden_size", "prediction_size", "embedding_size"):
            if getattr(self, field) < 1:
                raise ValueError(f"LPG's {field} must be at least 1, got {getattr(self, field)}.")
        if self.head_activation not in ("relu", "none"):
            raise ValueError(f"head_activation must be relu or none, got {self.head_activation!r}.")
        if self.precision not in get_args(Precision):
            raise ValueError(
                f"precision must be auto, float32 or bfloat16, got {self.precision!r}."
            )

    @property
    def network(self) -> LPGNetwork:
        on_cpu = jax.default_backend() == "cpu"
        narrow = self.precision == "bfloat16" or (self.precision == "auto" and not on_cpu)
        return LPGNetwork(
            self.hidden_size,
            self.prediction_size,
            self.embedding_size,
            self.head_activation,
            dtype=jnp.bfloat16 if narrow else None,
            feature_major=on_cpu,
        )

    def init(self, key: Array) -> RuleParams:
        row = jnp.zeros((1, 1))
        inputs = RuleInputs(
            reward=row,
            not_done=row,
            gamma=jnp.zeros((1,)),
            action_prob=row,
            prediction=jnp.zeros((2, 1, self.prediction_size)),
            value=jnp.zeros((2, 1, 0)),
        )
        return self.network.init(key, inputs)["params"]

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

    def architecture(self) -> dict[str, Any]:
        """Plain JSON for a rule file's header; `from_architecture` reads it back."""
        fields = asdict(self)
        del fields["precision"]  # how to compute, not what the rule is
        return {"rule": "lpg", **fields}

    @classmethod
    def from_architecture(cls, architecture: dict[str, Any]) -> "LPG":
        fields = dict(architecture)
        if fields.pop("rule", None) != "lpg":
            raise ValueError(
                f"This rule file holds a rule of kind {architecture.get('rule')!r}, not 'lpg'; "
                "load it with the class that wrote it."
            )
        try:
            return cls(**fields)
        except TypeError as error:
            raise ValueError(
                f"This rule file's architecture {architecture} is not one this version knows; "
                "use the version that wrote it."
            ) from error


def kl_divergence(
    logits: Float[Array, "*batch m"], target: Float[Array, "*batch m"]
) -> Float[Array, "*batch"]:
    """KL(softmax(logits) || target) in nats, as printed in Eq. 2."""
    log_y = jax.nn.log_softmax(logits)
    # A softmax target underflows to 0 only beyond 87 nats; the floor keeps its log finite there.
    log_target = jnp.log(jnp.maximum(target, jnp.finfo(target.dtype).tiny))
    return jnp.sum(jnp.exp(log_y) * (log_y - log_target), axis=-1)
