"""theta_k to theta_{k+1} of every lifetime, by one call of the rule on the rows of all cohorts.

eta enters here and nowhere else: through the targets, whose cotangents are measured and bounded
lifetime by lifetime (`metatrain.shares`).
"""

from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lpg.optimizers import SGD
from lpg.platform import platform
from lpg.rows import inputs_to_rows, rows_to_lives
from lpg.rule import RuleInputs, RuleParams, UpdateRule, kept_names, penalties, push, rule_inputs
from lpg.trajectory import Trajectory
from lpg.update import GRADIENT, AgentState, Reading, agent_step, read, row_steps
from metatrain.cohort import Cohort
from metatrain.config import MetaTrainConfig
from metatrain.evidence import without_evidence
from metatrain.lifetime import LifetimeState
from metatrain.shares import Share, bounded, is_finite

EVEN = 1024  # rows that a rule reads on accelerators come in multiples of this
Penalties = dict[str, Float[Array, "*L"]]  # of each lifetime, by name


def updated_agents(
    rule: UpdateRule,
    config: MetaTrainConfig,
    cohorts: tuple[Cohort, ...],
    rule_params: RuleParams,
    lifetimes: tuple[LifetimeState, ...],
    agents: tuple[AgentState, ...],
    trajectories: tuple[Trajectory, ...],
    shares: tuple[Share, ...],
) -> tuple[tuple[AgentState, ...], tuple[Penalties, ...]]:
    """theta_k -> theta_{k+1} of every lifetime, by one call of the rule.

    Rows of tables are read before and written after: what is recomputed is given all it reads.
    """

    def update(
        rule_params: RuleParams,
        given: tuple[AgentState | Array, ...],
        trajectories: tuple[Trajectory, ...],
        shares: tuple[Share, ...],
    ) -> tuple[tuple[AgentState | Array, ...], tuple[Penalties, ...]]:
        read_by_cohort = [
            jax.vmap(lambda *args, c=cohort: lifetime_inputs(c, *args))(*args)
            for cohort, *args in zip(cohorts, lifetimes, given, trajectories, strict=True)
        ]
        inputs, readings = zip(*read_by_cohort, strict=True)
        targets, unearned = targets_with_and_without_evidence(
            rule, config, rule_params, list(inputs)
        )
        targets = [bounded(t, share) for t, share in zip(targets, shares, strict=True)]
        taken = zip(cohorts, lifetimes, given, trajectories, targets, readings, strict=True)
        stepped = [
            jax.vmap(lambda *args, c=cohort: lifetime_step(rule, c, *args))(*args)
            for cohort, *args in taken
        ]
        earns = (x.earns for x in lifetimes)
        charged = map(partial(mean_penalties, rule, config), targets, unearned, earns)
        return tuple(stepped), tuple(charged)

    if recompute(config, cohorts):
        keep = jax.checkpoint_policies.save_only_these_names(*kept_names(rule), GRADIENT)
        update = jax.checkpoint(update, policy=keep)
    given, agents = zip(*map(_read_rows, cohorts, agents, trajectories), strict=True)
    made, charged = update(rule_params, given, trajectories, shares)
    return tuple(map(_written, cohorts, agents, trajectories, made)), charged


def by_rows(cohort: Cohort) -> bool:
    """Whether an update of the cohort's agents concerns single rows of parameters."""
    return cohort.agent.sparse and cohort.optimizer is SGD


def _read_rows(
    cohort: Cohort, agents: AgentState, trajectories: Trajectory
) -> tuple[AgentState | Array, AgentState]:
    """What an update is given: rows, else the agents; and the agents to go on with."""
    if not by_rows(cohort):
        return agents, agents
    rows, params = jax.vmap(cohort.agent.read)(agents.params, trajectories.observation)
    return rows, agents._replace(params=params)


def _written(
    cohort: Cohort, agents: AgentState, trajectories: Trajectory, made: AgentState | Array
) -> AgentState:
    """The agents after an update that made them, or steps of the rows that it was given."""
    if isinstance(made, AgentState):
        return made
    params = jax.vmap(cohort.agent.write)(agents.params, trajectories.observation, made)
    return agents._replace(params=params)


def recompute(config: MetaTrainConfig, cohorts: tuple[Cohort, ...]) -> bool:
    """Whether the backward pass recomputes agent updates, all but what the rule would keep.

    Unless told, not on a CPU where no agent has convolutions: what tables and dense layers made is
    read faster than it is made anew. Boards of activations would take several times the memory.
    """
    if config.remat is not None:
        return config.remat
    boards = any(cohort.agent.convolutional for cohort in cohorts)
    return boards or platform() != "cpu"


def lifetime_inputs(
    cohort: Cohort, lifetime: LifetimeState, given: AgentState | Array, trajectory: Trajectory
) -> tuple[RuleInputs, Reading | None]:
    """What the rule reads of an agent or of rows that were read, and what an agent's step goes on
    from."""
    body, reading = cohort.body(lifetime.env_params), None
    if isinstance(given, AgentState):
        outputs, reading, _ = read(body, given.params, trajectory.observation)
    else:
        outputs = body.outputs_of(given)
    unseen = trajectory._replace(final_value=None)  # the critic's, which is not the rule's business
    inputs = rule_inputs(outputs, unseen, lifetime.hypers.gamma)
    # Numbers that are not finite would enter eta's gradient even with a weight of zero.
    finite = is_finite(inputs)
    inputs = jax.tree.map(lambda x: jnp.where(finite, x, 0.0), inputs)
    return inputs, reading


def targets_with_and_without_evidence(
    rule: UpdateRule, config: MetaTrainConfig, rule_params: RuleParams, inputs: list[RuleInputs]
) -> tuple[list[Any], list[Any]]:
    """Per cohort, the targets, and those of rows without evidence, where these cost anything."""
    if config.unearned_cost == 0:
        return targets_of_all(rule, rule_params, inputs), [None] * len(inputs)
    blank = [without_evidence(x, config.unearned_rows) for x in inputs]
    targets = targets_of_all(rule, rule_params, inputs + blank)
    return targets[: len(inputs)], targets[len(inputs) :]


def targets_of_all(
    rule: UpdateRule, rule_params: RuleParams, inputs: list[RuleInputs]
) -> list[Any]:
    """One rule call on the rows of all cohorts; per cohort, targets with leading axes [L, T, B]."""
    joined = [inputs_to_rows(x) for x in inputs]
    parts = evened(joined)
    rows: Any = jax.tree.map(
        lambda *leaves: jnp.concatenate(leaves, axis=1), *(x._replace(gamma=()) for x in parts)
    )
    rows = rows._replace(gamma=jnp.concatenate([x.gamma for x in parts]))
    targets = rule.targets(rule_params, rows)
    ends = accumulate((len(x.gamma) for x in joined), initial=0)
    return [
        jax.tree.map(lambda a, i=i, j=j, x=x: rows_to_lives(a[:, i:j], len(x.reward)), targets)
        for (i, j), x in zip(pairwise(ends), inputs, strict=True)
    ]


def evened(rows: list[RuleInputs]) -> list[RuleInputs]:
    """On accelerators with some of the last rows once more, whose targets nobody reads.

    Sums over rows are split into parts of equal size there, and XLA pads what it sums over where
    rows do not divide, by a pass over it: a few rows more from the start cost nothing.
    """
    count = sum(len(x.gamma) for x in rows)
    few = -count % EVEN
    if platform() == "cpu" or not 0 < few <= min(count // 50, len(rows[-1].gamma)):
        return rows
    more = jax.tree.map(lambda x: x[:, -few:], rows[-1]._replace(gamma=()))
    return [*rows, more._replace(gamma=rows[-1].gamma[-few:])]


def lifetime_step(
    rule: UpdateRule,
    cohort: Cohort,
    lifetime: LifetimeState,
    given: AgentState | Array,
    trajectory: Trajectory,
    targets: Any,
    reading: Reading | None,
) -> AgentState | Array:
    """theta_k -> theta_{k+1} of one lifetime, or the steps of its rows."""
    body, toward = cohort.body(lifetime.env_params), (trajectory, targets, lifetime.hypers)
    if isinstance(given, AgentState):
        return agent_step(rule, body, cohort.optimizer, given, *toward, reading)
    return row_steps(rule, body, given, *toward)


def mean_penalties(
    rule: UpdateRule, config: MetaTrainConfig, targets: Any, blank: Any, earns: Bool[Any, "L"]
) -> Penalties:
    """Means over [T, B] of what the rule names among all that has a cost; 0 for what it does not.

    Args:
        blank: targets of rows without evidence, or None. All rows of a life that earns nothing are
            such rows.
    """

    def mean(x: Array | None) -> Float[Array, "L"]:
        return jnp.zeros(earns.shape) if x is None else jnp.mean(x, axis=(1, 2))

    own = penalties(rule, targets)
    charged = {name: mean(own.get(name)) for name in config.penalty_costs}
    unearned = None if blank is None else push(rule, blank)
    charged["unearned"] = jnp.where(earns, mean(unearned), mean(push(rule, targets)))
    return charged
