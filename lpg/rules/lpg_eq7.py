"""LPG with a state-dependent baseline for environments of large returns (Oh et al. 2020, Eq. 7)."""

from dataclasses import asdict

import jax
from jaxtyping import Array, Float

from lpg.heads import AgentOutputs, Heads, action_log_prob
from lpg.losses.estimators import policy_weight
from lpg.losses.kl_divergence import kl_divergence
from lpg.rule import Hypers, check_loss
from lpg.rules.lpg import LPG, LPGTargets
from lpg.trajectory import Trajectory


class LPGWithBaseline(LPG):
    """The same learned rule for an agent with one more head: f(s), which regresses to pi_hat."""

    def heads(self, num_actions: int) -> Heads:
        """LPG's, and a value for f(s)."""
        return Heads(logits=num_actions, prediction=self.prediction_size, value=1)

    def loss(
        self,
        outputs: AgentOutputs,
        trajectory: Trajectory,
        targets: LPGTargets,
        hypers: Hypers,
    ) -> Float[Array, ""]:
        """-log pi(a|s) (pi_hat - sg f) + alpha_y KL(y || y_hat) + (f - pi_hat)^2 / 2, averaged.

        The printed third term lacks its gradient sign; it is read as a regression of f.
        """
        check_loss(outputs, trajectory, targets, self.heads(1), y_hat_logits=self.prediction_size)
        baseline = outputs.value[:-1, ..., 0]
        strength = targets.pi_hat - jax.lax.stop_gradient(baseline)
        log_prob = action_log_prob(outputs.logits[:-1], trajectory.action)
        kl = kl_divergence(outputs.prediction[:-1], targets.y_hat_logits)
        error = baseline - targets.pi_hat
        weight = policy_weight(self.surrogate, log_prob, trajectory.done)
        return targets.mean(-weight * strength + hypers.prediction_cost * kl + 0.5 * error**2)


def with_baseline(rule: LPG) -> LPGWithBaseline:
    """The same architecture, and the same eta fits."""
    return LPGWithBaseline(**asdict(rule))
