"""One agent update (Oh et al. 2020, Eq. 2): a gradient step on a rule's loss."""

from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Array

from lpg.agent import AgentParams, Body
from lpg.optimizers import SGD, apply_direction
from lpg.rule import Hypers, Targets, UpdateRule
from lpg.trajectory import Trajectory


class AgentState(NamedTuple):
    """What an agent carries from update to update."""

    params: AgentParams  # theta
    opt_state: Any  # of the agent's optimiser


def agent_step(
    rule: UpdateRule,
    body: Body,
    optimizer: optax.GradientTransformation,
    state: AgentState,
    trajectory: Trajectory,
    targets: Targets,
    hypers: Hypers,
) -> AgentState:
    """One gradient step of one lifetime towards `targets`.

    The gradient is taken with respect to theta alone, with the targets as constants; an outer
    gradient still flows through the targets because they are an argument of this function.
    """
    agent, observation = body.agent, trajectory.observation

    def loss(vector: Array) -> Array:
        return rule.loss(body.outputs_of(vector), trajectory, targets, hypers)

    if optimizer is SGD:
        params = agent.step_rows(state.params, observation, loss, hypers.learning_rate)
        return state._replace(params=params)
    grads = jax.grad(lambda theta: loss(agent.apply(theta, observation)))(state.params)
    direction, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = apply_direction(state.params, direction, hypers.learning_rate)
    return AgentState(params=params, opt_state=opt_state)
