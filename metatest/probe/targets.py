"""What a rule answers on trajectories made up for the purpose, with no environment or agent in it.

Every question starts from `silence`: twenty steps that earn nothing, end nowhere, were taken with
probability 1/2 and lie between states of which y says nothing. It then changes one thing. A rule
without predictions (m = 0) answers with arrays whose axis m is empty; its values are zero.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lpg.learner import FrozenRule
from lpg.losses.returns import generalised_advantage
from lpg.rule import RuleInputs
from metatest.probe.protocol import GAMMA, HORIZON

ASKED = 10  # the step whose answers are shown
GAE_LAMBDA = 0.95
PEAK = 0.5  # y of the category that a prediction speaks for; the others share the rest
END_RATE = 0.05  # of the steps in `no_evidence` end an episode
PROBABILITIES = np.linspace(0.01, 0.99, 99)  # symmetric, so that 1 - p is p read backwards
REWARDS = np.linspace(-1.0, 1.0, 41)


class Drift(NamedTuple):
    """What happens to a policy of two actions that has seen nothing."""

    p: Float[np.ndarray, "P"]
    pi_hat: Float[np.ndarray, "P"]  # of an action that was taken with probability p
    drift: Float[np.ndarray, "P"]  # D(p): the logit's step away from 0, per update and unit alpha

    def at(self, p: float) -> float:
        """D at the nearest p that was asked about."""
        return float(self.drift[int(np.argmin(np.abs(self.p - p)))])


class NoEvidence(NamedTuple):
    """pi_hat where nothing was earned."""

    pi_hat_rms: float
    pi_hat_max: float  # of |pi_hat|
    rows: int


class Responses(NamedTuple):
    """Targets of step ASKED as one input of that step changes; leading axes are the changes."""

    reward: Float[np.ndarray, "2 R"]  # pi_hat; the episode goes on, ends there
    y_hat_reward: Float[np.ndarray, "2 R m"]
    probability: Float[np.ndarray, "3 P"]  # pi_hat against pi(a|s); reward -1, 0, 1
    own_y: Float[np.ndarray, "m"]  # pi_hat where y of the state speaks for a category
    next_y: Float[np.ndarray, "m"]  # where y of the state after it does
    y_hat_next_y: Float[np.ndarray, "m m"]
    credit: Float[np.ndarray, "2 T"]  # change of pi_hat by a reward of 1 at the last step
    y_credit: Float[np.ndarray, "2 T"]  # total variation between y_hat with and without it
    gae: Float[np.ndarray, "T"]  # generalised advantages of that reward, values zero


def silence(rule: Any, num_rows: int) -> RuleInputs:
    """Rows without any evidence, as NumPy arrays."""
    heads = rule.heads(2)
    steps, states = (HORIZON, num_rows), (HORIZON + 1, num_rows)
    arrays: dict[str, Any] = {
        "reward": np.zeros(steps),
        "not_done": np.ones(steps),
        "gamma": np.full(num_rows, GAMMA),
        "action_prob": np.full(steps, 0.5),
        "prediction": np.zeros((*states, heads.prediction)),
        "value": np.zeros((*states, heads.value)),
    }
    return RuleInputs(**{name: x.astype(np.float32) for name, x in arrays.items()})


def changed(inputs: RuleInputs, name: str, index: Any, value: Any) -> RuleInputs:
    """A copy whose array `name` holds `value` at `index`."""
    array = np.array(getattr(inputs, name))
    array[index] = value
    return inputs._replace(**{name: array})


def drift(probed: FrozenRule) -> Drift:
    """D(p) = p (1 - p) (pi_hat(p) - pi_hat(1 - p)), pi_hat of a first step taken with p.

    An action taken with probability p moves its logit by p (1 - p) pi_hat(p) on average and the
    other one's taking moves it by -p (1 - p) pi_hat(1 - p), so that this is the expected step.
    """
    p = PROBABILITIES
    inputs = changed(silence(probed.rule, len(p)), "action_prob", 0, p)
    pi_hat = _answer(probed, inputs)[0][0]
    return Drift(p, pi_hat, p * (1 - p) * (pi_hat - pi_hat[::-1]))


def no_evidence(probed: FrozenRule, key: Array, num_rows: int = 1024) -> NoEvidence:
    """Rows without reward, y uniform, pi uniform on (0, 1), ends at random."""
    key_prob, key_end = jax.random.split(key)
    inputs = silence(probed.rule, num_rows)
    shape = inputs.reward.shape
    ends = jax.random.bernoulli(key_end, END_RATE, shape)
    inputs = inputs._replace(
        action_prob=jax.random.uniform(key_prob, shape), not_done=1.0 - ends.astype(jnp.float32)
    )
    pi_hat = _answer(probed, inputs)[0]
    return NoEvidence(float(np.sqrt(np.mean(pi_hat**2))), float(np.abs(pi_hat).max()), num_rows)


def responses(probed: FrozenRule) -> Responses:
    """Every question in one call of the rule."""
    rule, t, last = probed.rule, ASKED, HORIZON - 1
    m, num_rewards, num_probs = rule.heads(2).prediction, len(REWARDS), len(PROBABILITIES)
    earned = changed(silence(rule, num_rewards), "reward", t, REWARDS)
    taken = changed(silence(rule, num_probs), "action_prob", t, PROBABILITIES)
    spoken, peaks = silence(rule, m), _peaks(m)
    paid = changed(silence(rule, 2), "reward", (last, 1), 1.0)
    questions = [
        earned,
        changed(earned, "not_done", t, 0.0),
        *(changed(taken, "reward", t, reward) for reward in (-1.0, 0.0, 1.0)),
        changed(spoken, "prediction", t, peaks),
        changed(spoken, "prediction", t + 1, peaks),
        paid,
        changed(paid, "not_done", last, 0.0),
    ]
    pi_hat, y_hat = _answer(probed, _joined(questions))
    cuts = np.cumsum([len(q.gamma) for q in questions])[:-1]
    pi, y = np.split(pi_hat, cuts, axis=1), np.split(y_hat, cuts, axis=1)
    return Responses(
        reward=np.stack([pi[0][t], pi[1][t]]),
        y_hat_reward=np.stack([y[0][t], y[1][t]]),
        probability=np.stack([x[t] for x in pi[2:5]]),
        own_y=pi[5][t],
        next_y=pi[6][t],
        y_hat_next_y=y[6][t],
        credit=np.stack([x[:, 1] - x[:, 0] for x in pi[7:]]),
        y_credit=np.stack([np.abs(x[:, 1] - x[:, 0]).sum(axis=-1) / 2 for x in y[7:]]),
        gae=_gae(paid),
    )


def _peaks(m: int) -> Float[np.ndarray, "m m"]:
    """Logits of predictions that give PEAK to one category each."""
    return np.log(PEAK * max(m - 1, 1) / (1 - PEAK)) * np.eye(m)


def _joined(questions: list[RuleInputs]) -> RuleInputs:
    """Side by side as rows, which gamma alone has for its first axis."""
    joined: Any = jax.tree.map(
        lambda *x: np.concatenate(x, axis=min(1, np.ndim(x[0]) - 1)), *questions
    )
    return joined


def _gae(paid: RuleInputs) -> np.ndarray:
    reward, discount = (jnp.asarray(x[:, 1:]) for x in (paid.reward, GAMMA * paid.not_done))
    values = jnp.zeros((HORIZON + 1, 1))
    return np.asarray(generalised_advantage(reward, discount, values, GAE_LAMBDA))[:, 0]


def _answer(probed: FrozenRule, inputs: RuleInputs) -> tuple[np.ndarray, np.ndarray]:
    """pi_hat [T, R] and y_hat [T, R, m]."""
    targets = jax.jit(probed.rule.targets)(probed.rule_params, inputs)
    pi_hat = np.asarray(targets.pi_hat)
    y_hat = getattr(targets, "y_hat", np.zeros((*pi_hat.shape, 0)))
    return pi_hat, np.asarray(y_hat)
