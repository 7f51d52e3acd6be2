"""How an algorithm trains fresh agents where the user asks for nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Literal

import optax

from lpg.optimizers import SGD, clip_by_global_norm, make_optimizer
from metatest.tasks import TaskSpec, TrainingSettings

Arm = tuple[float, float | None]  # learning rate; alpha_y, None for who has none


def every_arm(spec: TaskSpec) -> list[Arm]:
    """The task's learning rates, each with each alpha_y."""
    return list(product(spec.learning_rates, spec.prediction_costs))


def own_optimizer(spec: TaskSpec, num_updates: int) -> optax.GradientTransformation:
    """The task's, whatever the number of updates."""
    del num_updates
    return make_optimizer(spec.optimizer)


def adam(num_updates: int) -> optax.GradientTransformation:
    """Whatever the number of updates."""
    del num_updates
    return make_optimizer("adam")


@dataclass(frozen=True)
class AtariTraining:
    """The same on Atari, where what is None is as the options of a run have it."""

    torso: Literal["nature", "resnet"] = "nature"
    num_envs: int | None = None
    learning_rates: tuple[float, ...] | None = None
    prediction_costs: tuple[float | None, ...] | None = None
    gamma: float | None = None
    optimizer: Callable[[int], optax.GradientTransformation] = adam
    scheduled: bool = False  # whether the optimiser's steps depend on how long a life is to be


PUBLISHED_ATARI = AtariTraining()  # of learned rules and A2C (Oh et al. 2020, Table 4)


@dataclass(frozen=True)
class Training:
    """Settings, arms and optimiser by task, and how old the acting parameters are."""

    settings: Callable[[TaskSpec], TrainingSettings]
    arms: Callable[[TaskSpec], list[Arm]] = every_arm
    optimizer: Callable[[TaskSpec, int], optax.GradientTransformation] = own_optimizer
    lag: int = 0  # updates by which acting parameters lag behind
    atari: AtariTraining = PUBLISHED_ATARI
    own_settings: tuple[str, ...] = ()  # that the learner has of itself, whatever the budget


META_TRAINED = Training(lambda spec: spec.meta_trained)  # learned rules
ACTOR_CRITIC = Training(lambda spec: spec.actor_critic)


def _of_ppo(spec: TaskSpec) -> TrainingSettings:
    """Four times the environments that A2C has where these are few: a batch is cut into four."""
    settings = spec.uncentred
    return settings._replace(num_envs=max(32, settings.num_envs))


def _clipped(spec: TaskSpec, num_updates: int) -> optax.GradientTransformation:
    """The task's behind a clip at a norm of .5; a table's steps stay sparse, unclipped."""
    own = own_optimizer(spec, num_updates)
    return own if own is SGD else optax.chain(clip_by_global_norm(0.5), own)


def _clipped_adam(num_updates: int) -> optax.GradientTransformation:
    return optax.chain(clip_by_global_norm(0.5), adam(num_updates))


PPO_TRAINING = Training(
    _of_ppo,
    optimizer=_clipped,
    atari=AtariTraining(learning_rates=(2.5e-4,), optimizer=_clipped_adam),
)
