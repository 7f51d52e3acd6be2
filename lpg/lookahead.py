"""Agents that tune themselves by a meta-gradient through several updates, each on a rollout of its
own: MGRL as the study of meta-gradient bias has it.

Source: Liu et al. 2022, appendix I.3; spec/bias.md, section 8.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from lpg.agent import Body
from lpg.choices import refuse_other
from lpg.learner import LearnerState
from lpg.rule import Hypers, off_policy_inputs
from lpg.self_tuning import OnlineLearner, OnlineRule
from lpg.trajectory import Trajectory
from lpg.update import AgentState

Window = Literal["discard", "keep", "reuse"]


@dataclass(frozen=True, eq=False)
class Lookahead(OnlineLearner):
    """K updates from theta_0 to theta_K, a rollout of theta_K, and a step of eta by how well that
    went.

    `window` says what becomes of them. discard: the first update alone is real, theta goes on from
    theta_1 and its optimiser from there, with K + 1 new rollouts each time. keep: all are real.
    reuse: all are real, and the rollout of theta_K is the next window's first, as in the authors'
    published command.
    """

    rule: OnlineRule
    num_updates: int = 3  # K
    window: Window = "discard"
    meta_optimizer: optax.GradientTransformation = field(default_factory=lambda: optax.adam(1e-3))

    def __post_init__(self) -> None:
        if self.num_updates < 1:
            raise ValueError(f"num_updates must be at least 1, got {self.num_updates}.")
        refuse_other("window", self.window, get_args(Window))

    @property
    def num_trajectories(self) -> int:
        """One an update, and the outer one."""
        return self.num_updates + 1

    @property
    def fresh(self) -> int:
        """All but what is reused."""
        return self.num_updates + (self.window != "reuse")

    @property
    def real_updates(self) -> int:
        """Of a window."""
        return 1 if self.window == "discard" else self.num_updates

    def virtual(
        self,
        body: Body,
        optimizer: optax.GradientTransformation,
        state: LearnerState,
        trajectory: Trajectory,
        hypers: Hypers,
    ) -> LearnerState:
        """theta_{k+1}, for the rollout that the next update is made of."""
        eta = self.metaparameters(state.own.raw)
        agent = self.inner(body, optimizer, state.agent, trajectory, hypers, eta)
        return state._replace(agent=agent)

    def learn(
        self,
        body: Body,
        optimizer: optax.GradientTransformation,
        state: LearnerState,
        trajectories: Sequence[Trajectory],
        hypers: Hypers,
    ) -> LearnerState:
        """eta by the outer loss of theta_K on the last trajectory, and theta as `window` has it."""
        *inner, outer = trajectories
        each = jax.tree.map(lambda *x: jnp.stack(x), *inner)
        told = body._replace(condition=self._told(self.rule.reference))

        def outer_loss(raw: dict[str, Array]) -> tuple[Array, AgentState]:
            eta = self.metaparameters(raw)

            def update(agent: AgentState, trajectory: Trajectory) -> tuple[AgentState, AgentState]:
                agent = self.inner(body, optimizer, agent, trajectory, hypers, eta)
                return agent, agent

            last, after = jax.lax.scan(update, state.agent, each)
            outputs = told.outputs(last.params, outer.observation)
            fixed = jax.lax.stop_gradient(outputs)
            inputs = off_policy_inputs(fixed, outer, hypers.gamma)
            before = jax.nn.log_softmax(fixed.logits[:-1])  # theta_K's own: nothing holds it back
            return self.rule.outer_loss(before, outputs, outer, inputs, hypers), after

        grads, after = jax.grad(outer_loss, has_aux=True)(state.own.raw)
        agent = jax.tree.map(lambda x: x[self.real_updates - 1], after)
        return LearnerState(agent, self.moved(state.own, grads))
