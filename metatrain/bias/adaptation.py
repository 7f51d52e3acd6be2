"""MAML-RL by the estimators of the study: a first policy is learned from which a few sampled
updates do well in each of several MDPs.

Source: Finn et al. 2017 (MAML); Liu et al. 2022, appendix A.1; spec/bias.md, section 9.
"""

from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from envs.tabular_mdp import MDP, sample_mdp
from lpg.runs.seed import refuse_seed
from metatrain.bias.accuracy import QUICKLY, Setting
from metatrain.bias.decomposition import Condition, meta_gradient
from metatrain.bias.exact import MEANINGS, expected_return, outer_objective
from metatrain.bias.kept import over_seeds, rounded

EVERY = 20  # meta-steps from point to point


@dataclass(frozen=True)
class Adaptation:
    """One learning curve."""

    estimator: str = "autodiff"
    inner_steps: int = 1  # K
    trajectories: int = 20  # of every update, and of the outer gradient
    inner_rate: float = 10.0
    outer_rate: float = 1e-3  # Adam's
    meta_steps: int = 1000
    mdps: int = 10  # the meta-batch, always the same
    seeds: int = 3  # each with MDPs of its own, the same for every estimator
    seed: int = 0

    def __post_init__(self) -> None:
        _ = self.setting  # refuses what both share
        if self.meta_steps < EVERY or self.meta_steps % EVERY:
            raise ValueError(f"meta_steps must be a multiple of {EVERY}, got {self.meta_steps}.")
        if not (np.isfinite(self.outer_rate) and self.outer_rate > 0):
            raise ValueError(f"outer_rate must be positive and finite, got {self.outer_rate}.")
        if self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {self.seeds}.")
        refuse_seed(self.seed)

    @property
    def setting(self) -> Setting:
        """Of its meta-gradients, all roles sampled."""
        return Setting(
            estimator=self.estimator, inner_steps=self.inner_steps, mdps=self.mdps,
            trajectories=self.trajectories, inner_rate=self.inner_rate, seed=self.seed,
        )  # fmt: skip

    @property
    def program(self) -> tuple[Any, ...]:
        """What is compiled."""
        return self.inner_steps, self.trajectories, self.meta_steps, self.mdps, self.seeds

    def measured(self) -> dict[str, Any]:
        """Means over seeds and their standard errors, by points, as plain JSON."""
        return rounded(over_seeds(measure(self)._asdict()))


class Returns(NamedTuple):
    """Exact V(s_0), mean over the meta-batch and over the meta-steps since the point before."""

    before: Float[Array, "*b"]  # of the first policy
    after: Float[Array, "*b"]  # of that after K sampled updates


def measure(curve: Adaptation) -> Returns:
    """[seeds, points], NumPy."""
    keys = jax.random.split(jax.random.key(curve.seed), curve.seeds)
    program = _program(*curve.program[:-1])
    rate = jnp.asarray(curve.outer_rate)
    return jax.tree.map(np.asarray, program(curve.setting.condition, rate, keys))


@cache
def _program(num_updates: int, num_trajectories: int, meta_steps: int, num_mdps: int) -> Any:
    """(condition, outer rate, keys) to curves; the estimator and all rates are data."""
    adam = optax.scale_by_adam()

    def life(condition: Condition, rate: Array, key: Array) -> Returns:
        key_mdps, key_steps = jax.random.split(key)
        mdps = jax.vmap(sample_mdp)(jax.random.split(key_mdps, num_mdps))
        estimate = partial(
            meta_gradient,
            meaning=MEANINGS["maml"], num_updates=num_updates, num_trajectories=num_trajectories,
        )  # fmt: skip

        def step(carry: tuple[Array, Any], key: Array) -> tuple[tuple[Array, Any], Returns]:
            phi, optimizer = carry
            found = jax.vmap(lambda key, mdp: estimate(key, mdp=mdp, phi=phi, condition=condition))(
                jax.random.split(key, num_mdps), mdps
            )
            ascent, optimizer = adam.update(jnp.mean(found.meta_gradient, axis=0), optimizer)
            worth = jax.vmap(returned)(mdps, found.theta)
            return (phi + rate * cast(Array, ascent), optimizer), Returns(*jnp.mean(worth, axis=0))

        phi = jnp.zeros_like(mdps.reward[0])
        curves = jax.lax.scan(step, (phi, adam.init(phi)), jax.random.split(key_steps, meta_steps))
        return jax.tree.map(lambda x: jnp.mean(x.reshape(-1, EVERY), axis=1), curves[1])

    def program(condition: Condition, rate: Array, keys: Array) -> Returns:
        return jax.lax.map(partial(life, condition, rate), keys)

    return jax.jit(program, compiler_options=QUICKLY)


def returned(mdp: MDP, theta: Float[Array, "K1 S A"]) -> Float[Array, "2"]:
    """Of the first theta and of the last."""
    ends = theta[jnp.array([0, -1])]
    return jax.vmap(lambda theta: expected_return(mdp, theta, outer_objective(mdp)))(ends)
