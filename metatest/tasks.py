"""From a name to a task: the fifteen published environments, gymnax's, or the user's own."""

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from envs.suite import SUITE, stack
from envs.two_colours import TwoColours
from lpg import instance
from lpg.heads import mask_logits
from lpg.rollout import EpisodeSummary, rollout, start
from metatest.own import imported

# Networks on environments that were never seen: Adam with the arms that Table 3 gives networks.
ADAM_RATES = (5e-4, 1e-3, 2e-3, 5e-3)
PREDICTION_COSTS = (0.1, 0.5, 1.0)
DENSE, CONVOLUTIONAL = "D(64-64)", "C(16)-D(128)"
STEPS = 512_000  # of one agent
ENVIRONMENT = ("default_params", "num_actions", "reset_env", "step_env", "is_truncated")
NOT_AVAILABLE = {"MNISTBandit-bsuite": "downloads data while it runs"}


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


class Adapter:
    """A gymnax environment as rollouts want it: image planes first."""

    def __init__(self, env: Any):
        self.env = env
        self.num_actions: int = env.num_actions

    def __getattr__(self, name: str) -> Any:
        if name in instance.OPTIONAL:
            return getattr(self.env, name)
        raise AttributeError(f"{type(self).__name__} has no {name!r}")

    def reset_env(self, key: Array, params: Any) -> tuple[Array, Any]:
        """The environment's own reset, an image's planes first."""
        observation, state = self.env.reset_env(key, params)
        return self._planes_first(observation), state

    def step_env(
        self, key: Array, state: Any, action: Array, params: Any
    ) -> tuple[Array, Any, Any, Any, Any]:
        """The environment's own step, without autoreset; all but the observation as it is."""
        observation, state, reward, terminated, info = self.env.step_env(key, state, action, params)
        return self._planes_first(observation), state, reward, terminated, info

    def is_truncated(self, state: Any, params: Any) -> Array:
        """The environment's own time limit."""
        return self.env.is_truncated(state, params)

    @staticmethod
    def _planes_first(observation: Array) -> Array:
        """[H, W, C] to [C, H, W]; others as they are."""
        return jnp.moveaxis(observation, -1, 0) if observation.ndim == 3 else observation


def find_task(name: str) -> TaskSpec:
    """The task called `name`, or the environment class at 'package.module:Class'.

    Raises ValueError for unknown names, for classes that cannot be imported, and for environments
    without discrete actions.
    """
    if name in SUITE:
        return _published(name)
    if name == TwoColours().name:
        own = _gymnax(name, TwoColours(), TwoColours().default_params)
        return replace(own, agent="D(256-256)", lifetime_steps=1_000_000)
    if ":" in name:
        needed = "a gymnax Environment class that is built without arguments"
        env = imported(name, "an environment", needed, ENVIRONMENT)
        return _gymnax(name, env, env.default_params)
    import gymnax  # takes seconds

    if name in NOT_AVAILABLE:
        raise ValueError(f"{name} {NOT_AVAILABLE[name]}; take another environment.")
    if name not in gymnax.registered_envs:
        known = (*SUITE, TwoColours().name, *gymnax.registered_envs)
        close = get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known)}."
        raise ValueError(
            f"Unknown environment {name!r}; {hint} Your own is named as package.module:Class."
        )
    return _gymnax(name, *gymnax.make(name))


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


def _gymnax(name: str, env: Any, params: Any) -> TaskSpec:
    from gymnax.environments import spaces

    space = env.action_space(params)
    if not isinstance(space, spaces.Discrete):
        raise ValueError(
            f"{name} has continuous actions ({type(space).__name__}), which these rules cannot "
            "take; choose an environment with discrete actions."
        )
    adapted = env if instance.has_instances(env) else Adapter(env)
    shape = instance.observation_shape(adapted, params)
    return TaskSpec(
        suite="gymnax",
        name=name,
        env=adapted,
        env_params=params,
        agent=CONVOLUTIONAL if len(shape) == 3 else DENSE,
        optimizer="adam",
        learning_rates=ADAM_RATES,
        prediction_costs=PREDICTION_COSTS,
        lifetime_steps=STEPS,
        actor_critic=TrainingSettings(8, 0.99, REWARD_SCALES.get(name, 1.0)),
    )


def random_return(spec: TaskSpec, key: Array, num_envs: int = 64, num_steps: int = 1000) -> float:
    """Mean return of finished episodes under the uniform policy over the actions that there are, in
    `num_envs` instances; NaN where none finished."""

    def play(key: Array) -> EpisodeSummary:
        key_params, key_start, key_play = jax.random.split(key, 3)
        env_params = instance.sample_params(spec.env, key_params, spec.env_params)
        mask = instance.action_mask(spec.env, env_params)
        state = start(key_start, spec.env, env_params, num_envs=1)

        def policy(observation: Array) -> Array:
            return mask_logits(jnp.zeros((len(observation), spec.env.num_actions)), mask)

        return rollout(key_play, spec.env, env_params, policy, state, num_steps)[2]

    each = jax.device_get(jax.jit(jax.vmap(play))(jax.random.split(key, num_envs)))
    count = each.count.sum()
    return float(each.return_sum.sum() / count) if count > 0 else float(np.nan)
