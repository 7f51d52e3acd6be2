"""One window: K agent updates of every lifetime, and the outer loss at theta_K.

Every cohort makes its own rollouts and agent steps; the rule is called once per update, on the
rows of all cohorts together. Differentiating `window_loss` with respect to eta gives the
meta-gradient of Eq. 4 truncated to K updates.
"""

from functools import partial
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lpg.platform import platform
from lpg.rollout import EpisodeSummary, RolloutState, rollout
from lpg.rows import inputs_to_rows, rows_to_lives
from lpg.rule import RuleInputs, RuleParams, UpdateRule, kept_names, penalties, push, rule_inputs
from lpg.trajectory import Trajectory
from lpg.update import AgentState, Reading, agent_step, read
from metatrain.cohort import Cohort, map_joined
from metatrain.evidence import without_evidence
from metatrain.lifetime import LifetimeState, earned, policy
from metatrain.outer_objective import (
    Costs,
    CriticState,
    LossParts,
    critic_step,
    normalised_advantage,
    outer_advantage,
    outer_loss,
)
from metatrain.presets import MetaTrainConfig
from metatrain.shares import Share, bounded, is_finite


class WindowCarry(NamedTuple):
    """What changes from update to update within a window, per cohort with leading axis L."""

    agent: AgentState
    critic: CriticState
    rollout: RolloutState
    trajectory: Trajectory


Penalties = dict[str, Float[Array, "*L"]]  # of each lifetime, by name


class CohortReport(NamedTuple):
    """What a window says of one cohort, leading axis L."""

    loss: LossParts
    episodes: EpisodeSummary  # finished during the window's K rollouts


def carries(lifetimes: tuple[LifetimeState, ...]) -> tuple[WindowCarry, ...]:
    """What the lifetimes bring into a window."""
    return tuple(WindowCarry(s.agent, s.critic, s.rollout, s.trajectory) for s in lifetimes)


def window_loss(
    rule: UpdateRule,
    config: MetaTrainConfig,
    cohorts: tuple[Cohort, ...],
    rule_params: RuleParams,
    lifetimes: tuple[LifetimeState, ...],
    keys: tuple[Array, ...],
    shares: tuple[Share, ...],
) -> tuple[Float[Array, ""], tuple[tuple[LifetimeState, ...], tuple[CohortReport, ...]]]:
    """Outer losses of the lifetimes given, over the number of all lifetimes of the cohorts; and the
    lifetimes after the window, with reports. On one device that is the mean.

    Args:
        keys: per cohort, PRNG keys [L], one a lifetime.
        shares: per cohort, what bounds and measures each lifetime's share of the gradient.
    """

    def update(
        carry: tuple[WindowCarry, ...], x: tuple[tuple[Array, ...], tuple[Share, ...]]
    ) -> tuple[tuple[WindowCarry, ...], Any]:
        step_keys, step_shares = x
        learned, charged = updated_agents(
            rule, config, cohorts, rule_params, lifetimes,
            tuple(x.agent for x in carry), tuple(x.trajectory for x in carry), step_shares,
        )  # fmt: skip
        moved = [
            jax.vmap(lambda *args, c=cohort: learn_and_act(c, config, *args))(*args)
            for cohort, *args in zip(cohorts, lifetimes, carry, learned, step_keys, strict=True)
        ]
        return tuple(after for after, _ in moved), (charged, tuple(s for _, s in moved))

    split = map_joined(lambda key: jax.random.split(key, config.num_updates), keys)
    step_keys = tuple(jnp.moveaxis(key, 1, 0) for key in split)
    final, (charged, summaries) = jax.lax.scan(update, carries(lifetimes), (step_keys, shares))

    reports, after = [], []
    for cohort, lifetime, carry, own, summary in zip(
        cohorts, lifetimes, final, charged, summaries, strict=True
    ):
        own = jax.tree.map(lambda x: jnp.mean(x, axis=0), own)
        stats, parts = jax.vmap(partial(lifetime_loss, cohort, config))(lifetime, carry, own)
        episodes = jax.tree.map(lambda x: jnp.sum(x, axis=0), summary)
        reports.append(CohortReport(parts, episodes))
        after.append(lifetime._replace(**carry._asdict(), advantage_stats=stats))
    num_lifetimes = sum(cohort.num_lifetimes for cohort in cohorts)
    total = sum(jnp.sum(report.loss.total) for report in reports) / num_lifetimes
    return jnp.asarray(total), (tuple(after), tuple(reports))


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
    boards = any(getattr(cohort.agent, "conv_features", ()) for cohort in cohorts)
    return boards or platform() != "cpu"


def lifetime_inputs(
    cohort: Cohort, lifetime: LifetimeState, agent: AgentState, trajectory: Trajectory
) -> tuple[RuleInputs, AgentState, Reading]:
    """What the rule reads, the agent to go on with, and what its step goes on from."""
    body = cohort.body(lifetime.env_params)
    outputs, reading, params = read(body, agent.params, trajectory.observation)
    inputs = rule_inputs(outputs, trajectory, lifetime.hypers.gamma)
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


def learn_and_act(
    cohort: Cohort,
    config: MetaTrainConfig,
    lifetime: LifetimeState,
    carry: WindowCarry,
    agent: AgentState,
    key: Array,
) -> tuple[WindowCarry, EpisodeSummary]:
    """The critic learns from the trajectory just trained on; the updated agent makes the next."""
    critic = critic_step(
        cohort.critic, cohort.critic_optimizer, carry.critic, carry.trajectory,
        lifetime.hypers.gamma, config.gae_lambda, config.critic_table_step,
    )  # fmt: skip
    rollout_state, trajectory, summary = act(cohort, config, lifetime, agent, carry.rollout, key)
    return WindowCarry(agent, critic, rollout_state, trajectory), summary


def act(
    cohort: Cohort,
    config: MetaTrainConfig,
    lifetime: LifetimeState,
    agent: AgentState,
    state: RolloutState,
    key: Array,
) -> tuple[RolloutState, Trajectory, EpisodeSummary]:
    """A trajectory of one lifetime's agent; no gradient flows into it."""
    acting = policy(cohort, jax.lax.stop_gradient(agent.params), lifetime.env_params)
    state, trajectory, summary = rollout(
        key, cohort.env, lifetime.env_params, acting, state, config.num_steps
    )
    # Nobody hears of the returns of a life that earns nothing.
    summary = jax.tree.map(lambda x: jnp.where(lifetime.earns, x, 0.0), summary)
    return state, earned(trajectory, lifetime.earns), summary


def lifetime_loss(
    cohort: Cohort,
    config: MetaTrainConfig,
    lifetime: LifetimeState,
    carry: WindowCarry,
    charged: Penalties,
) -> tuple[Any, LossParts]:
    """The outer loss on the trajectory that theta_K generated."""
    trajectory = carry.trajectory
    body = cohort.body(lifetime.env_params)
    outputs = body.outputs(carry.agent.params, trajectory.observation)
    advantage = outer_advantage(
        cohort.critic, carry.critic.params, trajectory, lifetime.hypers.gamma, config.gae_lambda
    )
    stats, advantage = normalised_advantage(
        lifetime.advantage_stats, advantage, config.advantage_decay
    )
    # Normalised, the advantage of nothing would be noise.
    advantage = jnp.where(lifetime.earns, advantage, 0.0)
    costs = Costs(
        lifetime.policy_entropy_cost, config.prediction_entropy_cost, config.penalty_costs
    )
    return stats, outer_loss(outputs, trajectory, advantage, charged, costs)
