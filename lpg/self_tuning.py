"""Agents that tune themselves: metaparameters eta learned by meta-gradients within one life.

theta' = theta after one update under eta; eta moves so that theta' does better by an outer loss on
other data, whose own metaparameters are fixed (Xu et al. 2018; Zahavy et al. 2020).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from lpg.agent import Body, Condition
from lpg.heads import AgentOutputs, Heads
from lpg.learner import LearnerState
from lpg.rule import Hypers, RuleInputs, RuleParams, UpdateRule, off_policy_inputs
from lpg.trajectory import Trajectory
from lpg.update import AgentState, agent_step, read

Pairs = Literal["swap", "following", "same"]


class OnlineRule(UpdateRule, Protocol):
    """An update rule whose parameters are metaparameters, named tuples of numbers in their units.

    `targets` reads them; they ride in the targets where they weigh the loss, so that eta enters
    nowhere else. A rule may also have `told`: those that the agent is told, if not all live ones.
    """

    @property
    def live(self) -> tuple[str, ...]:
        """Fields of eta that are learned; the others stay at their reference."""
        ...

    @property
    def initial(self) -> RuleParams:
        """eta at birth, strictly between 0 and `upper` where it is live."""
        ...

    @property
    def upper(self) -> RuleParams:
        """What eta = upper sigmoid(raw) cannot exceed."""
        ...

    @property
    def reference(self) -> RuleParams:
        """eta of the outer loss, and of the frozen agent that the tuned one is compared with."""
        ...

    @property
    def embedded(self) -> bool:
        """Whether the agent is told eta's live part, or `told` (`heads.condition` numbers)."""
        ...

    def outer_loss(
        self,
        before: Float[Array, "T B A"],
        outputs: AgentOutputs,
        trajectory: Trajectory,
        inputs: RuleInputs,
        hypers: Hypers,
    ) -> Float[Array, ""]:
        """What eta is to make small: the loss of theta', whose `outputs` and `inputs` these are.

        Args:
            before: log-probabilities of theta on the same trajectory.
            inputs: constants.
        """
        ...


class TuningState(NamedTuple):
    """eta before its sigmoid, by name of the live fields, and its optimiser's state."""

    raw: Any
    opt_state: Any


class OnlineLearner:
    """What learners of an online rule share: eta, kept before its sigmoid and told to the agent."""

    rule: OnlineRule
    meta_optimizer: optax.GradientTransformation

    def heads(self, num_actions: int) -> Heads:
        """As the rule asks."""
        return self.rule.heads(num_actions)

    def init(self, key: Array, agent: AgentState) -> LearnerState:
        """eta at the rule's initial values; the key is not used."""
        del key
        raw = {}
        for name in self.rule.live:
            start, upper = (getattr(x, name) for x in (self.rule.initial, self.rule.upper))
            # Of a type of its own: one weak at birth would have whoever learns compiled twice.
            raw[name] = jax.scipy.special.logit(jnp.asarray(start, jnp.result_type(float)) / upper)
        return LearnerState(agent, TuningState(raw, self.meta_optimizer.init(raw)))

    def metaparameters(self, raw: dict[str, Array]) -> RuleParams:
        """All of eta, in its units."""
        upper = self.rule.upper
        live = {name: getattr(upper, name) * jax.nn.sigmoid(x) for name, x in raw.items()}
        return self.rule.reference._replace(**live)

    def condition(self, state: LearnerState) -> Condition:
        """The live metaparameters, constants; None for a rule that does not embed them."""
        return self._told(self.metaparameters(state.own.raw))

    def trace(self, state: LearnerState) -> dict[str, Array]:
        """The live metaparameters."""
        eta = self.metaparameters(state.own.raw)
        return {name: getattr(eta, name) for name in self.rule.live}

    def moved(self, own: TuningState, grads: dict[str, Array]) -> TuningState:
        """eta after a step of its optimiser against `grads`."""
        updates, opt_state = self.meta_optimizer.update(grads, own.opt_state, own.raw)
        return TuningState(optax.apply_updates(own.raw, updates), opt_state)

    def inner(
        self,
        body: Body,
        optimizer: optax.GradientTransformation,
        agent: AgentState,
        trajectory: Trajectory,
        hypers: Hypers,
        eta: RuleParams,
        own_data: bool = False,
    ) -> AgentState:
        """theta after one update under eta, differentiable in both; `own_data` as `tune` has it."""
        body = body._replace(condition=self._told(eta))
        outputs, reading, params = read(body, agent.params, trajectory.observation)
        inputs = off_policy_inputs(jax.lax.stop_gradient(outputs), trajectory, hypers.gamma)
        if own_data and inputs.log_ratio is not None:
            inputs = inputs._replace(log_ratio=inputs.log_ratio.at[..., 0].set(0.0))
        targets = self.rule.targets(eta, inputs)
        agent = agent._replace(params=params)
        return agent_step(self.rule, body, optimizer, agent, trajectory, targets, hypers, reading)

    def _told(self, eta: RuleParams) -> Condition:
        if not self.rule.embedded:
            return None
        names = getattr(self.rule, "told", self.rule.live)
        told = [jnp.atleast_1d(jnp.asarray(getattr(eta, name))) for name in names]
        return jax.lax.stop_gradient(jnp.concatenate(told))


@dataclass(frozen=True, eq=False)
class SelfTuning(OnlineLearner):
    """The learner of an online rule that looks one update ahead.

    `pairs` says which trajectories are inner and outer. swap: of two new ones each is inner once,
    the other outer, so that theta moves twice and no frame is extra (Xu et al. 2018, C.3).
    following: inner on the one before, outer on the newest. same: one is both.
    """

    rule: OnlineRule
    pairs: Pairs = "swap"
    meta_optimizer: optax.GradientTransformation = field(default_factory=lambda: optax.adam(1e-3))
    outer_rows: int | None = None  # environments of the outer trajectory that count; all if None
    lag: int = 0  # updates by which acting parameters are old, as whoever trains has it

    @property
    def num_trajectories(self) -> int:
        """Two but where one is inner and outer."""
        return 1 if self.pairs == "same" else 2

    @property
    def fresh(self) -> int:
        """swap takes two new ones."""
        return 2 if self.pairs == "swap" else 1

    def learn(
        self,
        body: Body,
        optimizer: optax.GradientTransformation,
        state: LearnerState,
        trajectories: Sequence[Trajectory],
        hypers: Hypers,
    ) -> LearnerState:
        """theta and eta to theta' and eta', twice for swapped pairs."""
        inner, outer = trajectories[0], trajectories[-1]
        own_data = self.lag == 0 and self.pairs != "following"
        state = self.tune(body, optimizer, state, inner, outer, hypers, own_data)
        if self.pairs == "swap":
            state = self.tune(body, optimizer, state, outer, inner, hypers, False)
        return state

    def tune(
        self,
        body: Body,
        optimizer: optax.GradientTransformation,
        state: LearnerState,
        inner: Trajectory,
        outer: Trajectory,
        hypers: Hypers,
        own_data: bool,
    ) -> LearnerState:
        """One inner update of theta, and one of eta by the meta-gradient through it.

        Args:
            own_data: `inner` was made by theta itself, whose ratio to what acted is 1 by definition
                and not but for rounding: alpha has no gradient then.
        """
        outer = jax.tree.map(lambda x: x[:, : self.outer_rows], outer)
        told = body._replace(condition=self._told(self.rule.reference))
        outputs = told.outputs(state.agent.params, outer.observation)
        before = jax.nn.log_softmax(jax.lax.stop_gradient(outputs.logits[:-1]))

        def outer_loss(raw: dict[str, Array]) -> tuple[Array, AgentState]:
            eta = self.metaparameters(raw)
            after = self.inner(body, optimizer, state.agent, inner, hypers, eta, own_data)
            outputs = told.outputs(after.params, outer.observation)
            inputs = off_policy_inputs(jax.lax.stop_gradient(outputs), outer, hypers.gamma)
            return self.rule.outer_loss(before, outputs, outer, inputs, hypers), after

        # eta enters behind the inner gradient's pullback, so this costs no second pass back
        # through the network: transposed, the pullback is one pass forward.
        grads, after = jax.grad(outer_loss, has_aux=True)(state.own.raw)
        return LearnerState(after, self.moved(state.own, grads))
