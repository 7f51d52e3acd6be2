"""A learner that goes over a trajectory several times, in minibatches (Schulman et al. 2017)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from lpg.agent import Body
from lpg.learner import FrozenRule, LearnerState, targets_by_rows
from lpg.rule import Hypers, Targets
from lpg.trajectory import Trajectory
from lpg.update import AgentState, agent_step


@dataclass(frozen=True, eq=False)
class Epochs(FrozenRule):
    """A frozen rule whose targets are made once, for `num_epochs` times `num_minibatches` steps.

    What is carried beside the agent is the key of the shuffles.
    """

    num_epochs: int = 4
    num_minibatches: int = 4

    def init(self, key: Array, agent: AgentState) -> LearnerState:
        """The key is the first shuffle's."""
        return LearnerState(agent, own=key)

    def learn(
        self,
        body: Body,
        optimizer: optax.GradientTransformation,
        state: LearnerState,
        trajectories: Sequence[Trajectory],
        hypers: Hypers,
    ) -> LearnerState:
        """Steps on shuffled minibatches, each step of the trajectory once an epoch; what does not
        fill a minibatch is left out."""
        (trajectory,) = trajectories
        inputs = self.inputs(body, state, trajectory, hypers.gamma)
        targets = targets_by_rows(self.rule, self.rule_params, inputs)
        key, *keys = jax.random.split(state.own, 1 + self.num_epochs)
        size = trajectory.action.size // self.num_minibatches
        if size < 1:
            raise ValueError(
                f"{trajectory.action.size} steps do not make {self.num_minibatches} minibatches; "
                "take more environments or longer trajectories."
            )

        def step(agent: AgentState, chosen: Array) -> tuple[AgentState, None]:
            part, own = minibatch(trajectory, targets, chosen)
            return agent_step(self.rule, body, optimizer, agent, part, own, hypers), None

        shuffled = [jax.random.permutation(key, trajectory.action.size) for key in keys]
        each = [x[: size * self.num_minibatches].reshape((-1, size)) for x in shuffled]
        agent, _ = jax.lax.scan(step, state.agent, jnp.concatenate(each))
        return LearnerState(agent, own=key)


def minibatch(
    trajectory: Trajectory, targets: Targets, chosen: Array
) -> tuple[Trajectory, Targets]:
    """The steps `chosen`, numbered t B + b, as a trajectory of one environment in no order, whose
    last observation means nothing."""

    def pick(x: Any) -> Array:
        return x.reshape((-1, *x.shape[2:]))[chosen][:, None]

    observation = pick(trajectory.observation[:-1])
    parts = jax.tree.map(pick, trajectory._replace(observation=()))
    parts = parts._replace(observation=jnp.concatenate([observation, observation[-1:]]))
    return parts, jax.tree.map(pick, targets)
