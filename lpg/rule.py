"""The `UpdateRule` protocol: how an update rule, an agent and the engine talk to each other.

An update rule reads a trajectory together with the agent's outputs on it and says what those
outputs should become (`targets`). The agent then takes one gradient step on `loss` towards these
targets. Everything the engine can meta-train, and every baseline, is an `UpdateRule`.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float

from lpg.heads import AgentOutputs, Heads, action_log_prob
from lpg.shapes import check_shape
from lpg.trajectory import Trajectory

RuleParams = Any  # eta: a pytree that only its own rule looks into
Targets = Any  # what `targets` returns and `loss` takes, arrays with leading axes [T, B]


class Hypers(NamedTuple):
    """What differs between lifetimes, as data (Oh et al. 2020, section 3.4 and Table 2)."""

    learning_rate: Float[Array, "*lifetimes"]  # alpha_lr
    prediction_cost: Float[Array, "*lifetimes"]  # alpha_y: weight of the loss of y, or of V
    gamma: Float[Array, "*lifetimes"]  # discount factor


class RuleInputs(NamedTuple):
    """What a rule may read: T steps of R rows (a row is one environment of one lifetime)."""

    reward: Float[Array, "T R"]
    not_done: Float[Array, "T R"]  # d_t: 0 where the transition ended an episode, else 1
    gamma: Float[Array, "R"]
    action_prob: Float[Array, "T R"]  # pi(a_t | s_t)
    prediction: Float[Array, "T+1 R m"]  # logits of y(s_t)
    value: Float[Array, "T+1 R v"]  # of all heads, one after the other
    # log pi_i(a_t | s_t) - log mu(a_t | s_t) of each head i, mu the policy that acted; off-policy
    # rules alone are told.
    log_ratio: Float[Array, "T R n"] | None = None
    # V of where the time limit cut an episode, else 0; rules that `bootstrap` alone are told.
    final_value: Float[Array, "T R"] | None = None


@runtime_checkable
class UpdateRule(Protocol):
    """Source: Oh et al. 2020, sections 3.1 and 3.2.

    These four methods are all that a rule must have. What a rule may say besides, `penalties`,
    `push`, `bootstraps` and `kept_names` below look up.
    """

    def init(self, key: Array) -> RuleParams:
        """Fresh rule parameters eta."""
        ...

    def heads(self, num_actions: int) -> Heads:
        """The outputs an agent needs for this rule."""
        ...

    def targets(self, rule_params: RuleParams, inputs: RuleInputs) -> Targets:
        """Targets [T, R, ...]; the only place where eta enters. Differentiable in both."""
        ...

    def loss(
        self, outputs: AgentOutputs, trajectory: Trajectory, targets: Targets, hypers: Hypers
    ) -> Float[Array, ""]:
        """The agent's loss for one lifetime; the agent's gradient sees `targets` as constants.

        `outputs` has T+1 rows of time; the last one belongs to the bootstrap observation.
        """
        ...


def penalties(rule: UpdateRule, targets: Targets) -> dict[str, Float[Array, "*L T B"]]:
    """What a rule's targets can be charged for, by name: `rule.penalties(targets)`, else nothing.

    Meta-training weighs the means in the outer loss. The one that `rule.push` names says how hard
    targets push, and is charged once more where there is no evidence to push by.
    """
    said = getattr(rule, "penalties", None)
    return {} if said is None else said(targets)


def push(rule: UpdateRule, targets: Targets) -> Float[Array, "*L T B"] | None:
    """The penalty on how hard these targets push; None for a rule that names none."""
    name = getattr(rule, "push", None)
    return None if name is None else penalties(rule, targets)[name]


def bootstraps(rule_or_learner: Any) -> bool:
    """Whether targets go on beyond a time limit (`bootstraps`), by a value that the agent then must
    have at the observation where an episode was cut; False where it does not say."""
    return getattr(rule_or_learner, "bootstraps", False)


def kept_names(rule: UpdateRule) -> tuple[str, ...]:
    """Of what `targets` computes, what a recomputed window should keep (`rule.kept_names`, by
    `jax.ad_checkpoint.checkpoint_name`): work that is dear to do twice and small to hold."""
    return getattr(rule, "kept_names", ())


def check_outputs(
    outputs: AgentOutputs, trajectory: Trajectory, heads: Heads | None = None
) -> None:
    """Raises ValueError unless one life's outputs are of the T + 1 rows of its trajectory.

    Args:
        heads: of the rule, where it is at hand: the widths of what it reads.
    """
    check_shape("trajectory.reward", trajectory.reward, ("T", "B"), "time first, then the batch")
    num_steps, batch = trajectory.reward.shape
    for name in ("action", "terminated", "truncated", "behaviour_log_prob", "final_value"):
        array, same = getattr(trajectory, name), "one a step of trajectory.reward"
        if array is not None:
            check_shape(f"trajectory.{name}", array, (num_steps, batch), same)
    widths = ("A", "m", "v") if heads is None else ("A", heads.prediction, heads.value)
    for name, width in zip(("logits", "prediction", "value"), widths, strict=True):
        if width:
            rows = "time first with the bootstrap's row last, then the batch, then the head"
            wanted = (num_steps + 1, batch, width)
            check_shape(f"outputs.{name}", getattr(outputs, name), wanted, rows)


def check_loss(
    outputs: AgentOutputs, trajectory: Trajectory, targets: Any, heads: Heads, **widths: int
) -> None:
    """Raises ValueError unless a rule with these heads can take its loss of these.

    Args:
        targets: a named tuple, with one number a step in each field, or as many as `widths` says;
            fields may be None.
    """
    check_outputs(outputs, trajectory, heads)
    for name, array in targets._asdict().items():
        if array is None:
            continue
        width = (widths[name],) if name in widths else ()
        wanted, same = (*trajectory.reward.shape, *width), "by the steps of trajectory.reward"
        check_shape(f"targets.{name}", array, wanted, same)


def check_inputs(inputs: RuleInputs, heads: Heads) -> None:
    """Raises ValueError unless `inputs` are of T steps of R rows, and what a rule with these heads
    reads is as wide as they are."""
    check_shape("inputs.reward", inputs.reward, ("T", "R"), "time first, then the rows")
    num_steps, rows = inputs.reward.shape
    for name in ("not_done", "action_prob", "final_value"):
        array, same = getattr(inputs, name), "one a step of inputs.reward"
        if array is not None:
            check_shape(f"inputs.{name}", array, (num_steps, rows), same)
    check_shape("inputs.gamma", inputs.gamma, (rows,), "one a row of inputs.reward")
    value = sum(head.value for head in (heads, *heads.auxiliary))
    for name, width in (("prediction", heads.prediction), ("value", value)):
        if width:
            wanted, same = (num_steps + 1, rows, width), "a row of time more than inputs.reward"
            check_shape(f"inputs.{name}", getattr(inputs, name), wanted, same)


def rule_inputs(
    outputs: AgentOutputs, trajectory: Trajectory, gamma: Float[Array, ""]
) -> RuleInputs:
    """One lifetime's inputs to the rule, differentiable through pi and y (hence through theta).

    The gradient through y is what teaches a rule its prediction targets: cutting it leaves the
    y_hat head with no return gradient at all (see tests/metatrain/test_meta_gradient.py). Raises
    ValueError as `check_outputs` does.
    """
    check_outputs(outputs, trajectory)
    batch = trajectory.reward.shape[1]
    log_prob = action_log_prob(outputs.logits[:-1], trajectory.action)
    return RuleInputs(
        reward=trajectory.reward,
        not_done=1.0 - trajectory.done.astype(trajectory.reward.dtype),
        gamma=jnp.broadcast_to(gamma, (batch,)),
        action_prob=jnp.exp(log_prob),
        prediction=outputs.prediction,
        value=outputs.value,
        final_value=trajectory.final_value,
    )


def off_policy_inputs(
    outputs: AgentOutputs, trajectory: Trajectory, gamma: Float[Array, ""]
) -> RuleInputs:
    """`rule_inputs` for rules of many heads and rules that correct for the policy that acted."""
    for head in outputs.auxiliary:
        check_outputs(head, trajectory)
    inputs = rule_inputs(outputs, trajectory, gamma)
    log_probs = [action_log_prob(head.logits[:-1], trajectory.action) for head in outputs.heads]
    ratios = [log_prob - trajectory.behaviour_log_prob for log_prob in log_probs]
    value = jnp.concatenate([head.value for head in outputs.heads], axis=-1)
    return inputs._replace(value=value, log_ratio=jnp.stack(ratios, axis=-1))
