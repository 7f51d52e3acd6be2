"""One window: K agent updates of every lifetime, and the outer loss at theta_K.

Every cohort makes its own rollouts and agent steps; the rule is called once per update, on the
rows of all cohorts together. Differentiating `window_loss` with respect to eta gives the
meta-gradient of Eq. 4 truncated to K updates.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lpg.rollout import EpisodeSummary, RolloutState, rollout
from lpg.rule import RuleParams, UpdateRule
from lpg.trajectory import Trajectory
from lpg.update import AgentState
from metatrain.cohort import Cohort, map_joined
from metatrain.config import MetaTrainConfig
from metatrain.inner_update import Penalties, updated_agents
from metatrain.lifetime import LifetimeState, beyond, earned, policy
from metatrain.outer_objective import (
    Costs,
    CriticState,
    LossParts,
    critic_step,
    normalised_advantage,
    outer_advantage,
    outer_loss,
)
from metatrain.shares import Share


class WindowCarry(NamedTuple):
    """What changes from update to update within a window, per cohort with leading axis L."""

    agent: AgentState
    critic: CriticState
    rollout: RolloutState
    trajectory: Trajectory


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
        agents, trajectories = zip(*((x.agent, x.trajectory) for x in carry), strict=True)
        learned, charged = updated_agents(
            rule, config, cohorts, rule_params, lifetimes, agents, trajectories, step_shares
        )
        moved = [
            jax.vmap(lambda *args, c=cohort: learn_and_act(c, config, *args))(*args)
            for cohort, *args in zip(cohorts, lifetimes, carry, learned, step_keys, strict=True)
        ]
        return tuple(after for after, _ in moved), (charged, tuple(s for _, s in moved))

    split = map_joined(lambda key: jax.random.split(key, config.num_updates), keys)
    step_keys = tuple(jnp.moveaxis(key, 1, 0) for key in split)
    final, (charged, summaries) = jax.lax.scan(update, carries(lifetimes), (step_keys, shares))

    closed = [
        cohort_loss(config, *args)
        for args in zip(cohorts, lifetimes, final, charged, summaries, strict=True)
    ]
    after, reports = zip(*closed, strict=True)
    num_lifetimes = sum(cohort.num_lifetimes for cohort in cohorts)
    total = sum(jnp.sum(report.loss.total) for report in reports) / num_lifetimes
    return jnp.asarray(total), (after, reports)


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
        cohort.critic,
        cohort.critic_optimizer,
        carry.critic,
        carry.trajectory,
        lifetime.hypers.gamma,
        config.gae_lambda,
        config.critic_table_step,
    )
    rollout_state, trajectory, summary = act(
        cohort, config, lifetime, agent, critic, carry.rollout, key
    )
    return WindowCarry(agent, critic, rollout_state, trajectory), summary


def act(
    cohort: Cohort,
    config: MetaTrainConfig,
    lifetime: LifetimeState,
    agent: AgentState,
    critic: CriticState,
    state: RolloutState,
    key: Array,
) -> tuple[RolloutState, Trajectory, EpisodeSummary]:
    """A trajectory of one lifetime's agent; no gradient flows into it."""
    acting = policy(cohort, jax.lax.stop_gradient(agent.params), lifetime.env_params)
    further = beyond(cohort, critic.params)
    state, trajectory, summary = rollout(
        key, cohort.env, lifetime.env_params, acting, state, config.num_steps, further
    )
    # Nobody hears of the returns of a life that earns nothing.
    summary = jax.tree.map(lambda x: jnp.where(lifetime.earns, x, 0.0), summary)
    return state, earned(trajectory, lifetime.earns, lifetime.reward_offset), summary


def cohort_loss(
    config: MetaTrainConfig,
    cohort: Cohort,
    lifetimes: LifetimeState,
    carry: WindowCarry,
    charged: Penalties,
    summaries: EpisodeSummary,
) -> tuple[LifetimeState, CohortReport]:
    """A cohort's lifetimes after the window, and their report; penalties and summaries are of K
    updates, [K, L]."""
    charged = jax.tree.map(lambda x: jnp.mean(x, axis=0), charged)
    stats, parts = jax.vmap(partial(lifetime_loss, cohort, config))(lifetimes, carry, charged)
    episodes = jax.tree.map(lambda x: jnp.sum(x, axis=0), summaries)
    after = lifetimes._replace(**carry._asdict(), advantage_stats=stats)
    return after, CohortReport(parts, episodes)


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
