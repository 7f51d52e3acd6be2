"""Evaluate algorithms on tasks: arms are chosen on seeds of their own."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from lpg.agents.make import make_agent
from lpg.instance import num_states
from lpg.optimizers import make_optimizer
from metatest.algorithms import Algorithm
from metatest.curve import Curve
from metatest.report.results import Result, with_none
from metatest.selection import Choice, choose_arm
from metatest.tasks import META_TRAINING, TaskSpec, TrainingSettings, random_return
from metatest.train_agent import Task, train

SELECTION, REPORT, RANDOM = 1, 2, 3  # streams of keys


@dataclass(frozen=True)
class Budget:
    """How much to train, the same for every algorithm; None stands for the task's own."""

    seeds: int = 8
    selection_seeds: int = 8
    steps: int | None = None  # environment steps of one life
    num_envs: int | None = None
    num_steps: int = 20
    gamma: float | None = None
    reward_scale: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("seeds", "selection_seeds", "num_envs", "num_steps", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if self.gamma is not None and not 0 <= self.gamma < 1:
            raise ValueError(f"gamma must lie in [0, 1), got {self.gamma}.")
        if self.reward_scale is not None and not self.reward_scale > 0:
            raise ValueError(f"reward_scale must be positive, got {self.reward_scale}.")


class Plan(NamedTuple):
    """What a budget comes to for an algorithm on a task."""

    updates: int
    settings: TrainingSettings


def plan(algorithm: Algorithm, spec: TaskSpec, budget: Budget) -> Plan:
    """The settings of `algorithm` where the budget says nothing, and as many updates as its steps.

    Algorithms of different settings differ by at most an update's steps, by rounding to the
    nearest. Raises ValueError where a life is shorter than one update.
    """
    settings = META_TRAINING if algorithm.meta_trained else spec.actor_critic
    given = {name: getattr(budget, name) for name in TrainingSettings._fields}
    settings = settings._replace(**{name: x for name, x in given.items() if x is not None})
    steps = spec.lifetime_steps if budget.steps is None else budget.steps
    each = settings.num_envs * budget.num_steps
    if steps < each:
        raise ValueError(
            f"{steps:,} steps are less than one update of {algorithm.name} on {spec.name} "
            f"({settings.num_envs} environments x {budget.num_steps} steps = {each:,}); raise "
            "--steps, or lower --num-envs or --num-steps."
        )
    return Plan(round(steps / each), settings)


def evaluate(
    algorithm: Algorithm,
    spec: TaskSpec,
    budget: Budget,
    on_progress: Callable[[int], None] = lambda updates: None,
) -> Result:
    """Choose the best arm on `selection_seeds`, then train `seeds` fresh agents with it."""
    num_updates, settings = plan(algorithm, spec, budget)
    key = jax.random.fold_in(jax.random.key(budget.seed), _stable_hash(spec.name))
    task = make_task(algorithm, spec, budget)
    live = partial(
        train, task, gamma=settings.gamma, num_updates=num_updates, on_progress=on_progress
    )
    arms = list(product(spec.learning_rates, spec.prediction_costs))
    choice = _select(live, jax.random.fold_in(key, SELECTION), arms, budget.selection_seeds)
    if np.isneginf(choice.mean).all():
        raise FloatingPointError(
            f"Agents of {algorithm.name} on {spec.name} diverged with every arm; this rule does "
            "not suit the environment."
        )
    learning_rate, prediction_cost = arms[choice.best]
    every = np.ones(budget.seeds)
    curve = live(jax.random.fold_in(key, REPORT), learning_rate * every, prediction_cost * every)
    chance = spec.random_return
    if chance is None:
        chance = with_none(random_return(spec, jax.random.fold_in(key, RANDOM)))
    return Result.of(
        curve,
        settings.num_envs * budget.num_steps,
        suite=spec.suite,
        env=spec.name,
        algorithm=algorithm.name,
        learning_rate=learning_rate,
        prediction_cost=prediction_cost,
        **settings._asdict(),
        selection=choice.rows(arms),
        selection_metric=choice.metric,
        random_return=chance,
        reference_return=spec.reference_return,
    )


def _select(
    live: Callable[..., Curve], key: Array, arms: list[tuple[float, float]], seeds: int
) -> Choice:
    """The best arm by lives of its own; all arms meet the same worlds: an easy one must not make
    its arm look good."""
    learning_rate, prediction_cost = np.repeat(np.array(arms, np.float32), seeds, axis=0).T
    curve = live(key, learning_rate, prediction_cost, seeds=np.tile(np.arange(seeds), len(arms)))
    return choose_arm(curve, len(arms))


def make_task(algorithm: Algorithm, spec: TaskSpec, budget: Budget) -> Task:
    """The algorithm at work on `spec`; raises ValueError as `plan` does."""
    settings = plan(algorithm, spec, budget).settings
    agent = make_agent(
        spec.agent,
        algorithm.learner.heads(spec.env.num_actions),
        num_states=num_states(spec.env),
        observation_shape=spec.observation_shape,
    )
    return Task(
        algorithm.learner,
        spec.env,
        spec.env_params,
        agent,
        make_optimizer(spec.optimizer),
        settings.num_envs,
        budget.num_steps,
        settings.reward_scale,
    )


def total_updates(algorithms: list[Algorithm], specs: list[TaskSpec], budget: Budget) -> int:
    """Updates that `evaluate` reports as progress, both phases."""
    return sum(2 * plan(a, spec, budget).updates for a in algorithms for spec in specs)


def _stable_hash(name: str) -> int:
    return int.from_bytes(name.encode(), "little") % (2**31 - 1)
