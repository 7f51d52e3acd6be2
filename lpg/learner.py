"""The `Learner` protocol: who owns the step from theta to theta', and what it carries.

A learned rule, A2C and agents that tune themselves are all learners to those who train agents. They
are written for one life; training loops vmap over lives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float

from lpg.agent import Body, Condition
from lpg.heads import Heads
from lpg.rows import inputs_to_rows, rows_to_lives
from lpg.rule import (
    Hypers,
    RuleInputs,
    RuleParams,
    Targets,
    UpdateRule,
    bootstraps,
    off_policy_inputs,
)
from lpg.trajectory import Trajectory
from lpg.update import AgentState, agent_step


class LearnerState(NamedTuple):
    """What one life carries from update to update."""

    agent: AgentState
    own: Any  # the learner's alone; () where it carries nothing


@runtime_checkable
class Learner(Protocol):
    """`init` at a life's birth, then `learn` once an update; all methods are pure.

    A learner may also have `bootstraps`, True where it goes on beyond time limits: its trajectories
    then have `final_value`, of the agent that acted (not on Atari, whose 30 minutes are an end).
    """

    @property
    def num_trajectories(self) -> int:
        """How many trajectories one call of `learn` takes, oldest first."""
        ...

    @property
    def fresh(self) -> int:
        """How many of them must be new; whoever trains keeps the others from the call before."""
        ...

    def heads(self, num_actions: int) -> Heads:
        """The outputs that the agent needs."""
        ...

    def init(self, key: Array, agent: AgentState) -> LearnerState:
        """The state of a newborn life whose agent is `agent`."""
        ...

    def condition(self, state: LearnerState) -> Condition:
        """What the acting agent is told, `heads.condition` numbers; None where that is 0."""
        ...

    def learn(
        self,
        body: Body,
        optimizer: optax.GradientTransformation,
        state: LearnerState,
        trajectories: Sequence[Trajectory],
        hypers: Hypers,
    ) -> LearnerState:
        """theta to theta', from `num_trajectories` trajectories of the life's own making."""
        ...

    def trace(self, state: LearnerState) -> dict[str, Array]:
        """Metaparameters in their units by name, scalars or one a head or quantile, for curves; {}
        where all is frozen."""
        ...


def ahead(
    learner: Learner,
    body: Body,
    optimizer: optax.GradientTransformation,
    state: LearnerState,
    played: Trajectory | None,
    hypers: Hypers,
) -> LearnerState:
    """What acts next on the way to one `learn`'s trajectories, of which `played` is the newest.

    That is the learner as it is, but for one that must act between its inner updates: such a one
    has a method `virtual`, from a state and a trajectory to the state after that update. `learn` is
    called with the state before all of them.
    """
    if played is None or not looks_ahead(learner):
        return state
    return learner.virtual(body, optimizer, state, played, hypers)  # type: ignore[attr-defined]


def looks_ahead(learner: Learner) -> bool:
    """Whether it must act between its inner updates."""
    return hasattr(learner, "virtual")


@dataclass(frozen=True, eq=False)
class FrozenRule:
    """An update rule whose parameters are what they are: LPG, LPG-V, A2C."""

    rule: UpdateRule
    rule_params: RuleParams

    num_trajectories = 1
    fresh = 1

    @property
    def bootstraps(self) -> bool:
        """As the rule does."""
        return bootstraps(self.rule)

    def heads(self, num_actions: int) -> Heads:
        """As the rule asks."""
        return self.rule.heads(num_actions)

    def init(self, key: Array, agent: AgentState) -> LearnerState:
        """Nothing is carried beside the agent; the key is not used."""
        del key
        return LearnerState(agent, own=())

    def condition(self, state: LearnerState) -> Condition:
        """None: the rule never changes, so there is nothing to tell."""
        del state

    def learn(
        self,
        body: Body,
        optimizer: optax.GradientTransformation,
        state: LearnerState,
        trajectories: Sequence[Trajectory],
        hypers: Hypers,
    ) -> LearnerState:
        """One `agent_step` towards the rule's targets on the only trajectory."""
        (trajectory,) = trajectories
        inputs = self.inputs(body, state, trajectory, hypers.gamma)
        targets = targets_by_rows(self.rule, self.rule_params, inputs)
        agent = agent_step(self.rule, body, optimizer, state.agent, trajectory, targets, hypers)
        return state._replace(agent=agent)

    def inputs(
        self, body: Body, state: LearnerState, trajectory: Trajectory, gamma: Float[Array, ""]
    ) -> RuleInputs:
        """What the rule reads, of the agent as it is now."""
        outputs = body.outputs(state.agent.params, trajectory.observation)
        return off_policy_inputs(outputs, trajectory, gamma)

    def trace(self, state: LearnerState) -> dict[str, Array]:
        """Empty: the rule never changes."""
        del state
        return {}


def targets_by_rows(rule: UpdateRule, rule_params: RuleParams, inputs: RuleInputs) -> Targets:
    """One life's targets, of a call that vmap over lives turns into one on the rows of all.

    So the rule's matmuls stay as large as they can be. Lives that have parameters of their own are
    called one by one, as vmap does. Not to be differentiated in reverse.
    """

    @custom_vmap
    def call(rule_params: RuleParams, inputs: RuleInputs) -> Targets:
        return rule.targets(rule_params, inputs)

    @call.def_vmap
    def call_of_lives(
        num_lives: int, batched: Any, rule_params: RuleParams, inputs: RuleInputs
    ) -> tuple[Targets, Any]:
        own_params, own_inputs = batched
        if any(jax.tree.leaves(own_params)):
            axes = jax.tree.map(lambda own: 0 if own else None, batched)
            targets = jax.vmap(rule.targets, in_axes=tuple(axes))(rule_params, inputs)
        else:
            each = jax.tree.map(
                lambda x, own: x if own else jnp.broadcast_to(x, (num_lives, *x.shape)),
                inputs,
                own_inputs,
            )
            rows = call(rule_params, inputs_to_rows(each))
            targets = jax.tree.map(lambda x: rows_to_lives(x, num_lives), rows)
        return targets, jax.tree.map(lambda _: True, targets)

    return call(rule_params, inputs)
