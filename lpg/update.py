"""One agent update (Oh et al. 2020, Eq. 2): a gradient step on a rule's loss."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array

from lpg.agent import AgentParams, Body, VectorLoss, descent
from lpg.heads import AgentOutputs
from lpg.optimizers import SGD, apply_direction
from lpg.rule import Hypers, Targets, UpdateRule
from lpg.trajectory import Trajectory

GRADIENT = "agent_gradient"  # its `jax.ad_checkpoint.checkpoint_name`


class AgentState(NamedTuple):
    """What an agent carries from update to update."""

    params: AgentParams  # theta
    opt_state: Any  # of the agent's optimiser


class Reading(NamedTuple):
    """An agent's vectors on a trajectory and, of a dense agent, the way back from them to theta.

    The rule reads the vectors, then a step goes back from them: one pass through the network is
    for both, and an outer gradient goes back through it once.
    """

    vector: Array
    pullback: Callable[[Array], tuple[AgentParams]] | None


def read(
    body: Body, params: AgentParams, observation: Array
) -> tuple[AgentOutputs, Reading, AgentParams]:
    """Outputs, what `agent_step` can go on from, and the parameters to go on with."""
    agent = body.agent
    if agent.sparse:
        vector, params = agent.read(params, observation)
        pullback = None
    else:
        vector, pullback = jax.vjp(lambda theta: body.vector(theta, observation), params)
    return body.outputs_of(vector), Reading(vector, pullback), params


def row_steps(
    rule: UpdateRule,
    body: Body,
    vector: Array,
    trajectory: Trajectory,
    targets: Targets,
    hypers: Hypers,
) -> Array:
    """What a plain gradient step towards `targets` writes to the rows that a sparse agent read, as
    `agent_step` does; by itself it needs no more of the agent than these."""
    loss = _loss_of_vectors(rule, body, trajectory, targets, hypers)
    return descent(vector, loss, hypers.learning_rate)


def agent_step(
    rule: UpdateRule,
    body: Body,
    optimizer: optax.GradientTransformation,
    state: AgentState,
    trajectory: Trajectory,
    targets: Targets,
    hypers: Hypers,
    reading: Reading | None = None,
) -> AgentState:
    """One gradient step of one lifetime towards `targets`.

    Args:
        reading: what `read` made of the trajectory's observations at these very parameters.

    The gradient is taken with respect to theta alone, with the targets as constants; an outer
    gradient still flows through the targets because they are an argument of this function.
    """
    agent, observation = body.agent, trajectory.observation
    loss = _loss_of_vectors(rule, body, trajectory, targets, hypers)
    if reading is not None and reading.pullback is not None:
        (grads,) = reading.pullback(jax.grad(loss)(reading.vector))
    elif agent.sparse and optimizer is SGD:
        params = agent.step_rows(state.params, observation, loss, hypers.learning_rate)
        return state._replace(params=params)
    else:
        grads = jax.grad(lambda theta: loss(body.vector(theta, observation)))(state.params)
    # An optimiser is not linear in it: were it not kept, a recomputed update would make it again.
    grads = checkpoint_name(grads, GRADIENT)
    direction, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = apply_direction(state.params, direction, hypers.learning_rate)
    return AgentState(params=params, opt_state=opt_state)


def _loss_of_vectors(
    rule: UpdateRule, body: Body, trajectory: Trajectory, targets: Targets, hypers: Hypers
) -> VectorLoss:
    return lambda vector: rule.loss(body.outputs_of(vector), trajectory, targets, hypers)
