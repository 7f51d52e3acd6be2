"""From a name to a task: the fifteen published environments, gymnax's, or the user's own."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax

from envs.suite import SUITE, SuiteRow, row_of, stack
from lpg import instance
from lpg.environment import Adapter, find


class TrainingSettings(NamedTuple):
    """What an algorithm trains with where the user asks for nothing else."""

    num_envs: int  # parallel environments per agent
    gamma: float  # discount factor
    reward_scale: float  # of the rewards that it learns from
    reward_centre: float = 0.0  # of the same, see `train_agent.rewards_read`; 0 for none


# A learned rule is at home in what it was meta-trained on (Oh et al. 2020, Table 2).
META_TRAINING = TrainingSettings(64, 0.995, 1.0)
# Actor-critics want small batches, and no critic that must learn values of hundreds: with unscaled
# rewards A2C never solves Acrobot.
SMALL_BATCHES = TrainingSettings(8, 0.99, 1.0)
SMALL_REWARDS = SMALL_BATCHES._replace(reward_scale=0.1)

# Worlds that pay the same for every step until an end, and how much. Most worlds of a rule's
# meta-training paid nothing for most steps: uncentred, lpg-cpu learns nothing on CartPole.
PAID_EACH_STEP = {"CartPole-v1": 1.0, "Acrobot-v1": -1.0, "MountainCar-v0": -1.0}


def meta_trained_settings(name: str) -> TrainingSettings:
    """Of a learned rule on gymnax's environment `name`."""
    return META_TRAINING._replace(reward_centre=PAID_EACH_STEP.get(name, 0.0))


def actor_critic_settings(name: str) -> TrainingSettings:
    """Of A2C and learners of one's own on gymnax's environment `name`. Where steps cost it explores
    for as long as it finds no end: centred, it takes 146 steps to Acrobot's in place of 90."""
    if (paid := PAID_EACH_STEP.get(name, 0.0)) > 0:
        return SMALL_BATCHES._replace(reward_centre=paid)
    return uncentred_settings(name)


def uncentred_settings(name: str) -> TrainingSettings:
    """Of PPO and of agents that tune themselves, which are better on CartPole so."""
    return SMALL_REWARDS if name in PAID_EACH_STEP else SMALL_BATCHES


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
    meta_trained: TrainingSettings = META_TRAINING  # of learned rules
    actor_critic: TrainingSettings = META_TRAINING  # of A2C and learners of one's own
    uncentred: TrainingSettings = META_TRAINING  # of PPO and agents that tune themselves
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
    return _other(name, *find(name, known=tuple(SUITE)))


def _published(name: str) -> TaskSpec:
    row = SUITE[name]
    env, stacked = stack((name,))
    params = jax.tree.map(lambda x: x[0], stacked)
    known = {"random_return": row.random_return, "reference_return": row.best_return}
    return _of_row("published", row, env, params, **known)


def _other(name: str, env: Adapter, params: Any) -> TaskSpec:
    row = row_of(name, env.env, instance.observation_shape(env, params), env.num_states)
    return _of_row(
        "gymnax",
        row,
        env,
        params,
        meta_trained=meta_trained_settings(name),
        actor_critic=actor_critic_settings(name),
        uncentred=uncentred_settings(name),
    )


def _of_row(
    suite: Literal["published", "gymnax"], row: SuiteRow, env: Any, params: Any, **known: Any
) -> TaskSpec:
    return TaskSpec(
        suite=suite,
        name=row.name,
        env=env,
        env_params=params,
        agent=row.agent,
        optimizer=row.optimizer,
        learning_rates=row.learning_rates,
        prediction_costs=row.prediction_costs,
        lifetime_steps=row.lifetime_steps,
        **known,
    )
