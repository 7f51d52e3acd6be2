"""From a name to a task: the fifteen published environments, gymnax's, or the user's own."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax

from envs.suite import SUITE, row_of, stack
from envs.two_colours import TwoColours
from lpg import instance
from lpg.environment import Adapter, adapted, find


class TrainingSettings(NamedTuple):
    """What an algorithm trains with where the user asks for nothing else."""

    num_envs: int  # parallel environments per agent
    gamma: float  # discount factor
    reward_scale: float  # of the rewards that it learns from


# A learned rule is at home in what it was meta-trained on (Oh et al. 2020, Table 2).
META_TRAINING = TrainingSettings(64, 0.995, 1.0)
# Actor-critics want small batches, and no critic that must learn values of hundreds: with unscaled
# rewards A2C never solves Acrobot.
REWARD_SCALES = {"CartPole-v1": 0.1, "Acrobot-v1": 0.1, "MountainCar-v0": 0.1}


@dataclass(frozen=True, eq=False)
class TaskSpec:
    """An environment with agent, optimiser, arms and length of life."""

    suite: Literal["published", "gymnax"]
    name: str
    env: Any
    env_params: Any
    agent: str  # Table 3's notation, see lpg.agents.make_agent
    optimizer: Literal["sgd", "adam"]
    learning_rates: tuple[float, ...]
    prediction_costs: tuple[float, ...]
    lifetime_steps: int  # environment steps of one agent
    actor_critic: TrainingSettings = (
        META_TRAINING  # of algorithms made by hand; learned rules keep theirs
    )
    random_return: float | None = None  # measured where None
    reference_return: float | None = None

    @property
    def num_arms(self) -> int:
        """Pairs of a learning rate and an alpha_y."""
        return len(self.learning_rates) * len(self.prediction_costs)

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Of a single observation, as a reset gives it."""
        return instance.observation_shape(self.env, self.env_params)


@dataclass(frozen=True)
class Overrides:
    """What the user wants different from a task's defaults; None keeps them."""

    agent: str | None = None
    optimizer: Literal["sgd", "adam"] | None = None
    learning_rates: tuple[float, ...] | None = None
    prediction_costs: tuple[float, ...] | None = None

    def apply(self, spec: TaskSpec) -> TaskSpec:
        """A copy of `spec` with what is not None here in its place."""
        given = {k: v for k, v in vars(self).items() if v is not None}
        return TaskSpec(**{**vars(spec), **given})


def find_task(name: str) -> TaskSpec:
    """The task called `name`, or the environment class at 'package.module:Class'.

    Raises ValueError for unknown names, for classes that cannot be imported, and for environments
    without discrete actions.
    """
    if name in SUITE:
        return _published(name)
    if name == TwoColours().name:
        env = TwoColours()
        return _other(name, adapted(name, env, env.default_params), env.default_params)
    return _other(name, *find(name, known=(*SUITE, TwoColours().name)))


def _published(name: str) -> TaskSpec:
    row = SUITE[name]
    env, stacked = stack((name,))
    return TaskSpec(
        suite="published",
        name=name,
        env=env,
        env_params=jax.tree.map(lambda x: x[0], stacked),
        agent=row.agent,
        optimizer=row.optimizer,
        learning_rates=row.learning_rates,
        prediction_costs=row.prediction_costs,
        lifetime_steps=row.lifetime_steps,
        random_return=row.random_return,
        reference_return=row.best_return,
    )


def _other(name: str, env: Adapter, params: Any) -> TaskSpec:
    shape = instance.observation_shape(env, params)
    row = row_of(name, env.env, shape, env.num_states)
    return TaskSpec(
        suite="gymnax",
        name=name,
        env=env,
        env_params=params,
        agent=row.agent,
        optimizer=row.optimizer,
        learning_rates=row.learning_rates,
        prediction_costs=row.prediction_costs,
        lifetime_steps=row.lifetime_steps,
        actor_critic=TrainingSettings(8, 0.99, REWARD_SCALES.get(name, 1.0)),
    )
