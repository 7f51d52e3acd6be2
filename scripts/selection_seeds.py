"""How many selection seeds make the choice of an arm better than a coin's.

    python scripts/selection_seeds.py --rule lpg-15 --env long --steps 128000 --num-envs 16

Trains `lives` agents with every arm, draws n of the worlds again and again, chooses an arm on them,
and looks at how that arm does on all.
"""

from dataclasses import dataclass
from itertools import product

import jax
import numpy as np
import tyro

from metatest.algorithms import Algorithm, AlgorithmOptions, choose
from metatest.curve import late_returns, late_rewards
from metatest.evaluate import Budget, make_task, plan
from metatest.tasks import find_task
from metatest.train_agent import train


@dataclass(frozen=True)
class Study:
    rule: str = "lpg-15"
    """A rule file or the name of a shipped one; A2C is measured beside it."""
    env: str = "long"
    """As metatest takes it."""
    steps: int = 128_000
    """Environment steps of a life."""
    num_envs: int = 16
    """Parallel environments per agent."""
    lives: int = 64
    """Worlds that every arm meets; they stand for the truth."""
    counts: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Numbers of selection seeds to try."""
    resamples: int = 10_000
    """Draws of worlds per number."""


def late_scores(algorithm: Algorithm, study: Study) -> dict[str, np.ndarray]:
    """Late return and reward per step [arms, lives]."""
    spec = find_task(study.env)
    budget = Budget(num_envs=study.num_envs, steps=study.steps)
    updates, settings = plan(algorithm, spec, budget)
    arms = np.array(list(product(spec.learning_rates, spec.prediction_costs)), np.float32)
    repeated = np.repeat(arms, study.lives, axis=0)
    curve = train(
        make_task(algorithm, spec, budget), jax.random.key(0), repeated[:, 0], repeated[:, 1],
        settings.gamma, updates, seeds=np.tile(np.arange(study.lives), len(arms)),
    )  # fmt: skip
    scores = {"return": late_returns(curve), "reward per step": late_rewards(curve)}
    return {name: values.reshape(len(arms), study.lives) for name, values in scores.items()}


def report(name: str, by: str, scores: dict[str, np.ndarray], study: Study) -> None:
    """A line per number of seeds: how often the best arm is chosen, how often one that the study
    cannot tell from it, and what the choice costs in return."""
    truth = scores["return"].mean(axis=1)
    best = int(truth.argmax())
    behind = scores["return"][best] - scores["return"]  # on the same worlds
    error = behind.std(axis=1, ddof=1) / np.sqrt(study.lives)
    rng = np.random.default_rng(0)
    draws = rng.permuted(np.tile(np.arange(study.lives), (study.resamples, 1)), axis=1)
    for count in study.counts:
        chosen = scores[by][:, draws[:, :count]].mean(axis=2).argmax(axis=0)
        lost = truth[best] - truth[chosen]
        print(
            f"{name} by {by}, {count} seeds: best arm {np.mean(chosen == best):.2f}, within one "
            f"s.e. {np.mean(lost <= error[chosen]):.2f}, return lost {lost.mean():.3f}, "
            f"worst tenth {np.quantile(lost, 0.9):.3f}"
        )


def main() -> None:
    study = tyro.cli(Study)
    for algorithm in choose((study.rule, "a2c"), AlgorithmOptions()):
        scores = late_scores(algorithm, study)
        means = scores["return"].mean(axis=1)
        print(f"{algorithm.name}: arms' returns {np.round(means, 2).tolist()}")
        print(f"{algorithm.name} by an arm at random: return lost {means.max() - means.mean():.3f}")
        for by in scores:
            report(algorithm.name, by, scores, study)


if __name__ == "__main__":
    main()
