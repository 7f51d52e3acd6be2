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

from lpg.platform import platform
from lpg.rows import inputs_to_rows, rows_to_lives
from lpg.rule import RuleInputs, RuleParams, UpdateRule, kept_names, penalties, push, rule_inputs
from lpg.trajectory import Trajectory
from lpg.update import AgentState, Reading, agent_step, read
from metatrain.cohort import Cohort
from metatrain.config import MetaTrainConfig
from metatrain.evidence import without_evidence
from metatrain.lifetime import LifetimeState
from metatrain.shares import Share, bounded, is_finite

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
    """theta_k -> theta_{k+1} of every lifetime, by one call of the rule."""

    def update(
        rule_params: RuleParams,
        agents: tuple[AgentState, ...],
        trajectories: tuple[Trajectory, ...],
        shares: tuple[Share, ...],
    ) -> tuple[tuple[AgentState, ...], tuple[Penalties, ...]]:
        read_by_cohort = [
            jax.vmap(lambda *args, c=cohort: lifetime_inputs(c, *args))(*args)
            for cohort, *args in zip(cohorts, lifetimes, agents, trajectories, strict=True)
        ]
        inputs, agents, readings = zip(*read_by_cohort, strict=True)
        targets, unearned = targets_with_and_without_evidence(
            rule, config, rule_params, list(inputs)
        )
        targets = [bounded(t, share) for t, share in zip(targets, shares, strict=True)]
        stepped = [
            jax.vmap(lambda *args, c=cohort: lifetime_step(rule, c, *args))(*args)
            for cohort, *args in zip(
                cohorts, lifetimes, agents, trajectories, targets, readings, strict=True
            )
        ]
        earns = (x.earns for x in lifetimes)
        charged = map(partial(mean_penalties, rule, config), targets, unearned, earns)
        return tuple(stepped), tuple(charged)

    if recompute(config, cohorts):
        keep = jax.checkpoint_policies.save_only_these_names(*kept_names(rule))
        update = jax.checkpoint(update, policy=keep)
    return update(rule_params, agents, trajectories, shares)


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
    cohort: Cohort, lifetime: LifetimeState, agent: AgentState, trajectory: Trajectory
) -> tuple[RuleInputs, AgentState, Reading]:
    """What the rule reads, the agent to go on with, and what its step goes on from."""
    body = cohort.body(lifetime.env_params)
    outputs, reading, params = read(body, agent.params, trajectory.observation)
    unseen = trajectory._replace(final_value=None)  # the critic's, which is not the rule's business
    inputs = rule_inputs(outputs, unseen, lifetime.hypers.gamma)
    # Numbers that are not finite would enter eta's gradient even with a weight of zero.
    finite = is_finite(inputs)
    inputs = jax.tree.map(lambda x: jnp.where(finite, x, 0.0), inputs)
    return inputs, agent._replace(params=params), reading


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
    rows: Any = jax.tree.map(
        lambda *leaves: jnp.concatenate(leaves, axis=1), *(x._replace(gamma=()) for x in joined)
    )
    rows = rows._replace(gamma=jnp.concatenate([x.gamma for x in joined]))
    targets = rule.targets(rule_params, rows)
    ends = accumulate((len(x.gamma) for x in joined), initial=0)
    return [
        jax.tree.map(lambda a, i=i, j=j, x=x: rows_to_lives(a[:, i:j], len(x.reward)), targets)
        for (i, j), x in zip(pairwise(ends), inputs, strict=True)
    ]


def lifetime_step(
    rule: UpdateRule,
    cohort: Cohort,
    lifetime: LifetimeState,
    agent: AgentState,
    trajectory: Trajectory,
    targets: Any,
    reading: Reading,
) -> AgentState:
    """theta_k -> theta_{k+1} of one lifetime."""
    body, optimizer = cohort.body(lifetime.env_params), cohort.optimizer
    return agent_step(rule, body, optimizer, agent, trajectory, targets, lifetime.hypers, reading)


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
