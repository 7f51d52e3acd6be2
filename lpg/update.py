"""One agent update (Oh et al. 2020, Eq. 2): outputs on a trajectory, then a gradient step."""

from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Array, Bool

from lpg.agent import Agent, AgentParams
from lpg.agents.table import TableAgent, read_rows
from lpg.heads import AgentOutputs, mask_logits, split_heads
from lpg.optimizers import SGD, apply_direction
from lpg.rule import Hypers, Targets, UpdateRule
from lpg.trajectory import Trajectory


class AgentState(NamedTuple):
    params: AgentParams  # theta
    opt_state: Any  # of the agent's optimiser


def agent_outputs(
    agent: Agent, params: AgentParams, observation: Array, action_mask: Bool[Array, "A"]
) -> AgentOutputs:
    """The agent's outputs with invalid actions masked."""
    return _masked(agent, agent.apply(params, observation), action_mask)


def _masked(agent: Agent, vector: Array, action_mask: Bool[Array, "A"]) -> AgentOutputs:
    outputs = split_heads(agent.heads, vector)
    return outputs._replace(logits=mask_logits(outputs.logits, action_mask))


def read_agent(
    agent: Agent, params: AgentParams, observation: Array, action_mask: Bool[Array, "A"]
) -> tuple[AgentOutputs, AgentParams]:
    """The same, and the parameters to go on with, whose gradient stays sparse for a table."""
    if type(agent) is not TableAgent:
        return agent_outputs(agent, params, observation, action_mask), params
    rows, params = read_rows(params, observation)
    return _masked(agent, rows, action_mask), params


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

    def loss(vector: Array) -> Array:
        return rule.loss(_masked(agent, vector, action_mask), trajectory, targets, hypers)

    if type(agent) is TableAgent and optimizer is SGD:  # write the rows visited and no others
        rows, params = read_rows(state.params, trajectory.observation)
        step = -hypers.learning_rate.astype(rows.dtype) * jax.grad(loss)(rows)
        return state._replace(params=params.at[trajectory.observation].add(step, mode="clip"))
    grads = jax.grad(lambda theta: loss(agent.apply(theta, trajectory.observation)))(state.params)
    direction, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = apply_direction(state.params, direction, hypers.learning_rate)
    return AgentState(params=params, opt_state=opt_state)
