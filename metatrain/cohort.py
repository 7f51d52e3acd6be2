"""A cohort: lifetimes that share an environment class and an agent, hence static shapes.

Which of the cohort's environments a lifetime lives in is data, so fifteen environments compile
to six cohorts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise, product
from math import ceil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from envs.suite import SuiteRow, stack
from lpg import instance
from lpg.agent import Agent, Body
from lpg.agents.make import make_agent
from lpg.heads import Heads
from lpg.optimizers import OptimizerName, make_optimizer
from lpg.rule import UpdateRule
from metatrain.config import MetaTrainConfig
from metatrain.environments import refuse_unscored, stacked, with_returns


@dataclass(frozen=True, eq=False)
class Cohort:
    """Static description; lifetimes are laid out environment by environment."""

    names: tuple[str, ...]  # E environments
    env: Any  # gymnax environment, padded to the largest of the cohort
    base_params: Any  # its EnvParams stacked [E, ...]
    agent: Agent
    optimizer: optax.GradientTransformation
    critic: Agent
    critic_optimizer: optax.GradientTransformation
    learning_rates: np.ndarray  # f32 [arms]
    prediction_costs: np.ndarray  # f32 [arms]
    lifetime_windows: np.ndarray  # i32 [E], K updates each
    random_return: np.ndarray  # f32 [E]
    best_return: np.ndarray  # f32 [E]
    lifetimes_per_env: int
    first_index: int  # global index of the cohort's first lifetime
    reward_free_lives: int = 0  # of each environment, the last of its slots
    least_limit: int = 1  # steps between two time limits

    def body(self, env_params: Any) -> Body:
        """The cohort's agent in one lifetime's world."""
        return Body(self.agent, instance.action_mask(self.env, env_params))

    @property
    def num_lifetimes(self) -> int:
        """L, over all devices."""
        return len(self.names) * self.lifetimes_per_env

    @property
    def environment_index(self) -> np.ndarray:
        """i32 [L]: the environment of each slot; a slot keeps its environment for ever."""
        return np.repeat(np.arange(len(self.names), dtype=np.int32), self.lifetimes_per_env)

    @property
    def earns(self) -> np.ndarray:
        """bool [L]: False for slots whose lives get no reward, whatever they do."""
        slot = np.arange(self.num_lifetimes) % self.lifetimes_per_env
        return slot < self.lifetimes_per_env - self.reward_free_lives


def all_tables(cohorts: tuple[Cohort, ...]) -> bool:
    """Whether every agent is a table, which decides how a CPU is best used."""
    return all(cohort.agent.sparse for cohort in cohorts)


def map_joined(function: Callable[[Array], Array], parts: tuple[Array, ...]) -> tuple[Array, ...]:
    """`function` of one lifetime, vmapped over those of all cohorts at once: one kernel for all."""
    mapped = jax.vmap(function)(jnp.concatenate(parts))
    ends = accumulate(map(len, parts), initial=0)
    return tuple(mapped[i:j] for i, j in pairwise(ends))


def build_cohorts(rule: UpdateRule, config: MetaTrainConfig) -> tuple[Cohort, ...]:
    """The cohorts of the environments named by the config."""
    built, first = [], 0
    for rows in config.cohorts:
        name = rows[0].name
        if rows[0].family == "user":
            env, base_params = stacked(rows[0], config.num_envs)
        else:
            env, base_params = stack(tuple(row.name for row in rows))
        cohort = make_cohort(
            rule,
            config,
            list(rows),
            env,
            base_params,
            config.lifetimes_of(name),
            first,
            config.reward_free_of(name),
        )
        built.append(cohort)
        first += cohort.num_lifetimes
    return tuple(built)


def make_cohort(
    rule: UpdateRule,
    config: MetaTrainConfig,
    rows: list[SuiteRow],
    env: Any,
    base_params: Any,
    lifetimes_per_env: int,
    first_index: int = 0,
    reward_free_lives: int = 0,
) -> Cohort:
    """A cohort of any gymnax environment with discrete actions whose observations are one array, or
    that `lpg.environment.adapted` has made such.

    Args:
        rows: per environment of the cohort, its name, agent, arms and lifetime.
        base_params: the environments' EnvParams stacked [E, ...].
        first_index: of the cohort's lifetimes among all, where an engine hosts several cohorts.

    Raises ValueError where the params lack gymnax's time limit.
    """
    row = rows[0]
    refuse_unscored(row.name, base_params)
    rows = _scored(rows, env, base_params)
    rates, costs = zip(*product(row.learning_rates, row.prediction_costs), strict=True)
    heads = rule.heads(env.num_actions), Heads(logits=0, value=1)
    agent, critic = (_agent(rule, row, env, base_params, x) for x in heads)
    return Cohort(
        names=tuple(r.name for r in rows),
        env=env,
        base_params=base_params,
        agent=agent,
        optimizer=make_optimizer(_optimizer_name(row)),
        critic=critic,
        # A table critic steps by itself (outer_objective.critic_step) and carries no moments.
        critic_optimizer=optax.identity() if critic.sparse else _adam(config),
        learning_rates=np.array(rates, np.float32),
        prediction_costs=np.array(costs, np.float32),
        lifetime_windows=np.array([_windows(config, row) for row in rows], np.int32),
        random_return=np.array([row.return_range[0] for row in rows], np.float32),
        best_return=np.array([row.return_range[1] for row in rows], np.float32),
        lifetimes_per_env=lifetimes_per_env,
        first_index=first_index,
        reward_free_lives=reward_free_lives,
        least_limit=instance.least_limit(env, base_params),
    )


def _scored(rows: list[SuiteRow], env: Any, base_params: Any) -> list[SuiteRow]:
    """Rows that all say where their returns begin and end."""
    each = (jax.tree.map(lambda x, i=i: x[i], base_params) for i in range(len(rows)))
    return [with_returns(row, env, params) for row, params in zip(rows, each, strict=True)]


def _adam(config: MetaTrainConfig) -> optax.GradientTransformation:
    return optax.adam(config.critic_learning_rate)


def _agent(rule: UpdateRule, row: SuiteRow, env: Any, base_params: Any, heads: Heads) -> Agent:
    """Of the row's architecture, on what the environment shows."""
    return make_agent(
        row.agent,
        heads,
        num_states=instance.num_states(env),
        observation_shape=instance.observation_shape(
            env, jax.tree.map(lambda x: x[0], base_params)
        ),
        # One choice for a meta-step: boards are as narrow as the rule's activations.
        precision=getattr(rule, "precision", "float32"),
    )


def _windows(config: MetaTrainConfig, row: SuiteRow) -> int:
    """Windows that a life lasts: Table 3's steps, scaled and bounded as the config says."""
    steps_per_window = config.num_envs * config.num_steps * config.num_updates
    windows = max(1, ceil(row.lifetime_steps * config.lifetime_scale / steps_per_window))
    return min(windows, config.longest_lifetime or windows)


def _optimizer_name(row: SuiteRow) -> OptimizerName:
    return "sgd" if row.optimizer == "sgd" else "adam"
