"""One agent update (Oh et al. 2020, Eq. 2): outputs on a trajectory, then a gradient step."""

from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Array, Bool

from envs.trajectory import Trajectory
from lpg.agents import Agent, AgentParams, split_heads
from lpg.optimizers import apply_direction
from lpg.rule import AgentOutputs, Hypers, Targets, UpdateRule, mask_logits


class AgentState(NamedTuple):
    params: AgentParams  # theta
    opt_state: Any  # of the agent's optimiser


def agent_outputs(
    agent: Agent, params: AgentParams, observation: Array, action_mask: Bool[Array, "A"]
) -> AgentOutputs:
    """The agent's outputs with invalid actions masked."""
    outputs = split_heads(agent.heads, agent.apply(params, observation))
    return outputs._replace(logits=mask_logits(outputs.logits, action_mask))


def agent_step(
    rule: UpdateRule,
    agent: Agent,
    optimizer: optax.GradientTransformation,
    state: AgentState,
    trajectory: Trajectory,
    action_mask: Bool[Array, "A"],
    targets: Targets,
    hypers: Hypers,
) -> AgentState:
    """One gradient step of one lifetime towards `targets`.

    The gradient is taken with respect to theta alone, with the targets as constants; an outer
    gradient still flows through the targets because they are an argument of this function.
    """

    def loss(params: AgentParams) -> Array:
        outputs = agent_outputs(agent, params, trajectory.observation, action_mask)
        return rule.loss(outputs, trajectory, targets, hypers)

    grads = jax.grad(loss)(state.params)
    direction, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = apply_direction(state.params, direction, hypers.learning_rate)
    return AgentState(params=params, opt_state=opt_state)
