"""Evaluate algorithms on the published suite: arms are chosen on seeds of their own."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import jax
import numpy as np

from envs.suite import get_row, stack
from lpg.actor_critic import A2C
from lpg.agents import make_agent
from lpg.optimizers import make_optimizer
from lpg.rule import RuleParams, UpdateRule
from metatest.results import Result, late_returns, late_rewards, with_none
from metatest.train_agent import Task, train

SELECTION, REPORT = 1, 2  # streams of keys


@dataclass(frozen=True)
class Algorithm:
    name: str
    rule: UpdateRule
    rule_params: RuleParams
    uses_kl_cost: bool  # whether alpha_y is an arm


@dataclass(frozen=True)
class Budget:
    """How much to train; None for `updates` means Table 3's lifetime."""

    seeds: int = 8
    selection_seeds: int = 1
    updates: int | None = None
    num_envs: int = 64
    num_steps: int = 20
    gamma: float = 0.995
    seed: int = 0

    def __post_init__(self):
        for name in ("seeds", "selection_seeds", "num_envs", "num_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.updates is not None and self.updates < 1:
            raise ValueError(f"updates must be at least 1, got {self.updates}.")
        if not 0 <= self.gamma < 1:
            raise ValueError(f"gamma must lie in [0, 1), got {self.gamma}.")

    def lifetime(self, env_name: str) -> int:
        """Agent updates of one life."""
        if self.updates is not None:
            return self.updates
        return max(1, get_row(env_name).lifetime_steps // (self.num_envs * self.num_steps))


def a2c() -> Algorithm:
    """A2C with the published settings; its learning rate comes from the same arms."""
    return Algorithm("a2c", A2C(), (), uses_kl_cost=False)


def evaluate(
    algorithm: Algorithm,
    env_name: str,
    budget: Budget,
    on_progress: Callable[[int], None] = lambda updates: None,
) -> Result:
    """Choose the best arm on `selection_seeds`, then train `seeds` fresh agents with it."""
    row = get_row(env_name)
    task = suite_task(algorithm, env_name, budget)
    num_updates = budget.lifetime(env_name)
    key = jax.random.fold_in(jax.random.key(budget.seed), _stable_hash(env_name))
    arms = list(product(row.learning_rates, row.kl_costs if algorithm.uses_kl_cost else (0.0,)))
    repeated = np.repeat(np.array(arms, np.float32), budget.selection_seeds, axis=0)
    curve = train(
        task, jax.random.fold_in(key, SELECTION), repeated[:, 0], repeated[:, 1],
        budget.gamma, num_updates, on_progress=on_progress,
        # All arms meet the same worlds: a short chain must not make its arm look good.
        seeds=np.tile(np.arange(budget.selection_seeds), len(arms)),
    )  # fmt: skip
    scores = np.where(curve.diverged, -np.inf, late_rewards(curve))
    scores = scores.reshape(len(arms), -1).mean(axis=1)
    if np.isneginf(scores).all():
        raise FloatingPointError(
            f"Agents of {algorithm.name} on {env_name} diverged with every arm; this rule does not "
            "suit the environment."
        )
    learning_rate, kl_cost = arms[int(np.argmax(scores))]
    curve = train(
        task, jax.random.fold_in(key, REPORT), np.full(budget.seeds, learning_rate),
        np.full(budget.seeds, kl_cost), budget.gamma, num_updates, on_progress=on_progress,
    )  # fmt: skip
    return Result(
        suite="published",
        env=env_name,
        algorithm=algorithm.name,
        learning_rate=learning_rate,
        kl_cost=kl_cost,
        selection=[[*arm, with_none(score)] for arm, score in zip(arms, scores, strict=True)],
        diverged=int(curve.diverged.sum()),
        updates=curve.updates.tolist(),
        interactions=(curve.updates * budget.num_envs * budget.num_steps).tolist(),
        reward_per_step=curve.reward_per_step.astype(float).tolist(),
        episode_return=with_none(curve.episode_return),
        late_reward_per_step=late_rewards(curve).astype(float).tolist(),
        late_return=with_none(late_returns(curve)),
        random_return=row.random_return,
        reference_return=row.best_return,
    )


def suite_task(algorithm: Algorithm, env_name: str, budget: Budget) -> Task:
    row = get_row(env_name)
    env, stacked = stack((env_name,))
    env_params = jax.tree.map(lambda x: x[0], stacked)
    observation, _ = jax.eval_shape(env.reset_env, jax.random.key(0), env_params)
    agent = make_agent(
        row.agent,
        algorithm.rule.heads(env.num_actions),
        num_states=getattr(env, "num_states", 0),
        observation_shape=observation.shape,
    )
    return Task(
        algorithm.rule, algorithm.rule_params, env, env_params, agent,
        make_optimizer(row.optimizer), budget.num_envs, budget.num_steps,
    )  # fmt: skip


def total_updates(algorithms: list[Algorithm], env_names: tuple[str, ...], budget: Budget) -> int:
    """Updates that `evaluate` reports as progress, both phases."""
    return sum(2 * budget.lifetime(name) for name in env_names) * len(algorithms)


def _stable_hash(name: str) -> int:
    return int.from_bytes(name.encode(), "little") % (2**31 - 1)
