"""Evaluate algorithms on tasks: arms are chosen on seeds of their own."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from lpg.agents.make import make_agent
from lpg.instance import for_parallel, least_limit, num_states
from lpg.random_play import random_return
from lpg.runs.seed import refuse_seed
from metatest.algorithms import Algorithm
from metatest.curve import Curve
from metatest.report.results import Result, with_none
from metatest.saved import Saved
from metatest.selection import choose, diverged
from metatest.tasks import TaskSpec, TrainingSettings
from metatest.train_agent import Life, Task, train
from metatest.training import Arm

SELECTION, REPORT, RANDOM = 1, 2, 3  # streams of keys


@dataclass(frozen=True)
class Budget:
    """How much to train, the same for every algorithm; None stands for the task's own."""

    seeds: int = 8
    selection_seeds: int = 8
    steps: int | None = None  # environment steps of one life
    selection_steps: int | None = None  # of a life on which the arm is chosen; else as above
    num_envs: int | None = None
    num_steps: int = 20
    gamma: float | None = None
    reward_scale: float | None = None
    reward_centre: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in (
            "seeds",
            "selection_seeds",
            "num_envs",
            "num_steps",
            "steps",
            "selection_steps",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        refuse_seed(self.seed)
        if self.gamma is not None and not 0 <= self.gamma < 1:
            raise ValueError(f"gamma must lie in [0, 1), got {self.gamma}.")
        if self.reward_scale is not None and not self.reward_scale > 0:
            raise ValueError(f"reward_scale must be positive, got {self.reward_scale}.")
        if self.reward_centre is not None and not np.isfinite(self.reward_centre):
            raise ValueError(f"reward_centre must be a finite number, got {self.reward_centre}.")

    @property
    def of_selection(self) -> "Budget":
        """The same for the lives on which arms are chosen."""
        return self if self.selection_steps is None else replace(self, steps=self.selection_steps)


class Plan(NamedTuple):
    """What a budget comes to for an algorithm on a task."""

    updates: int
    steps_per_update: int
    settings: TrainingSettings

    @property
    def steps(self) -> int:
        """Environment steps of one life."""
        return self.updates * self.steps_per_update


def plan(algorithm: Algorithm, spec: TaskSpec, budget: Budget) -> Plan:
    """The settings of `algorithm` where the budget says nothing, and as many updates as its steps.

    Algorithms of different settings differ by at most an update's steps, by rounding to the
    nearest. Raises ValueError where a life is shorter than one update.
    """
    settings = algorithm.training.settings(spec)
    free = [
        name for name in TrainingSettings._fields if name not in algorithm.training.own_settings
    ]
    given = {name: getattr(budget, name) for name in free}
    settings = settings._replace(**{name: x for name, x in given.items() if x is not None})
    steps = spec.lifetime_steps if budget.steps is None else budget.steps
    each = settings.num_envs * budget.num_steps * algorithm.learner.fresh
    if steps < each:
        option = "--steps" if steps != budget.selection_steps else "--selection-steps"
        raise ValueError(
            f"{steps:,} steps are less than one update of {algorithm.name} on {spec.name} "
            f"({settings.num_envs} environments x {each // settings.num_envs} steps = {each:,}); "
            f"raise {option}, or lower --num-envs or --num-steps."
        )
    return Plan(round(steps / each), each, settings)


def evaluate(
    algorithm: Algorithm,
    spec: TaskSpec,
    budget: Budget,
    on_progress: Callable[[int], None] = lambda updates: None,
    place: Callable[[str], Saved | None] = lambda phase: None,
    on_end: Callable[[Task, Life], None] = lambda task, lives: None,
) -> Result:
    """Choose the best of several arms on `selection_seeds`, then train `seeds` fresh agents by it.

    Args:
        place: where lives of a phase, selection or report, are kept and taken up again.
        on_end: called with those that are reported when they are over.
    """
    key = jax.random.fold_in(jax.random.key(budget.seed), _stable_hash(spec.name))
    _, steps_per_update, settings = plan(algorithm, spec, budget)
    arms = algorithm.training.arms(spec)

    def lives(of: Budget, stream: int, tried: list[Arm], seeds: int, **more: Any) -> Curve:
        own = partial(_live, algorithm, spec, of, jax.random.fold_in(key, stream), **more)
        own = partial(own, on_progress=on_progress)
        return _sound(_of_arms(own, tried, seeds), algorithm, spec)

    def trials() -> Curve:
        of, seeds = budget.of_selection, budget.selection_seeds
        return lives(of, SELECTION, arms, seeds, saved=place("selection"))

    chosen, said = choose(arms, trials, f"{algorithm.name} on {spec.name}")
    saved = place("report")
    curve = lives(budget, REPORT, [chosen], budget.seeds, saved=saved, on_end=on_end)
    return Result.of(
        curve,
        steps_per_update,
        suite=spec.suite,
        env=spec.name,
        algorithm=algorithm.name,
        **dict(zip(("learning_rate", "prediction_cost"), chosen, strict=True)),
        **settings._asdict(),
        **said,
        selection_steps=budget.selection_steps,
        random_return=_by_chance(spec, jax.random.fold_in(key, RANDOM)),
        reference_return=spec.reference_return,
        version=algorithm.version,
    )


def _live(
    algorithm: Algorithm,
    spec: TaskSpec,
    budget: Budget,
    key: Array,
    *arms: np.ndarray,
    on_end: Callable[[Task, Life], None] = lambda task, lives: None,
    **options: Any,
) -> Curve:
    """Lives as long as the budget has them, as `train` has the arms and options."""
    updates, _, settings = plan(algorithm, spec, budget)
    task = make_task(algorithm, spec, budget)
    own = partial(on_end, task)
    return train(task, key, *arms, gamma=settings.gamma, num_updates=updates, on_end=own, **options)


def _by_chance(spec: TaskSpec, key: Array) -> float | None:
    """A random policy's return, measured where the task does not know it."""
    if spec.random_return is not None:
        return spec.random_return
    found = random_return(spec.env, spec.env_params, key)
    return None if found is None else with_none(found)


def _sound(curve: Curve, algorithm: Algorithm, spec: TaskSpec) -> Curve:
    """The curve; FloatingPointError where all agents diverged. An environment that pays what is no
    number, by which agents diverge, is named here, on stderr where some are left."""
    paid = np.isfinite(curve.reward_per_step).all(axis=0)
    sentence = (
        f"{spec.name} paid rewards that are not finite to {(~paid).sum()} of {paid.size} agents of "
        f"{algorithm.name}; its step_env must return finite numbers."
    )
    if curve.diverged.all():
        who = f"{algorithm.name} on {spec.name}"
        raise diverged(who) if paid.all() else FloatingPointError(sentence)
    if not paid.all():
        print(f"metatest: {sentence}", file=sys.stderr)
    return curve


def _of_arms(live: Callable[..., Curve], arms: list[Arm], seeds: int) -> Curve:
    """`seeds` lives of every arm, arm after arm, which all meet the same worlds: an easy one must
    not make its arm look good."""
    rates, costs = zip(*(arm for arm in arms for _ in range(seeds)), strict=True)
    costs = [0.0 if cost is None else cost for cost in costs]  # nothing reads what there is not
    return live(np.array(rates), np.array(costs), seeds=np.tile(np.arange(seeds), len(arms)))


def make_task(algorithm: Algorithm, spec: TaskSpec, budget: Budget) -> Task:
    """The algorithm at work on `spec`; raises ValueError as `plan` does."""
    planned = plan(algorithm, spec, budget)
    agent = make_agent(
        spec.agent,
        algorithm.learner.heads(spec.env.num_actions),
        num_states=num_states(spec.env),
        observation_shape=spec.observation_shape,
    )
    return Task(
        learner=algorithm.learner,
        env=spec.env,
        env_params=for_parallel(spec.env, spec.env_params, planned.settings.num_envs),
        agent=agent,
        optimizer=algorithm.training.optimizer(spec, planned.updates),
        num_envs=planned.settings.num_envs,
        num_steps=budget.num_steps,
        reward_scale=planned.settings.reward_scale,
        reward_centre=planned.settings.reward_centre,
        lag=algorithm.training.lag,
        least_limit=least_limit(spec.env, spec.env_params),
    )


def total_updates(algorithms: list[Algorithm], specs: list[TaskSpec], budget: Budget) -> int:
    """Updates that `evaluate` reports as progress, both phases."""

    def each(algorithm: Algorithm, spec: TaskSpec) -> int:
        phases = [budget, budget.of_selection][: len(algorithm.training.arms(spec))]
        return sum(plan(algorithm, spec, phase).updates for phase in phases)

    return sum(each(algorithm, spec) for algorithm in algorithms for spec in specs)


def _stable_hash(name: str) -> int:
    return int.from_bytes(name.encode(), "little") % (2**31 - 1)
