"""How close estimates of a meta-gradient come to the exact one, over MDPs and repeats.

Source: Liu et al. 2022, Eq. 68 and Definition H.4; spec/bias.md, section 4.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from envs.tabular_mdp import MDP, sample_mdp
from lpg.choices import refuse_other
from lpg.runs.seed import refuse_seed
from metatrain.bias.decomposition import CODES, Condition, Injected, meta_gradient, roles_of
from metatrain.bias.exact import MEANINGS, exact_meta_gradient, first_phi, theta_after
from metatrain.bias.kept import rounded
from metatrain.bias.sampled import ESTIMATORS, Sampling

# Compiles in two thirds of the time, and the program is no slower. On one thread: on two cores a
# program with threads of its own was seen to wait for itself forever (jaxlib's CPU, many solves).
QUICKLY = {"xla_backend_optimization_level": 1, "xla_cpu_multi_thread_eigen": False}


@dataclass(frozen=True)
class Setting:
    """One cell of a figure."""

    problem: str = "maml"
    estimator: str = "autodiff"
    roles: str = "SSS"
    inner_steps: int = 1  # K
    trajectories: int = 32  # n, of every role that is sampled
    inner_rate: float = 10.0  # alpha (Table 2)
    value_noise: float = 1.0  # nu
    hessian_offset: float = 0.0  # h
    hessian_noise: float = 0.0
    mdps: int = 10
    repeats: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (
            ("problem", tuple(MEANINGS)), ("estimator", ESTIMATORS), ("roles", CODES),
        ):  # fmt: skip
            refuse_other(name, getattr(self, name), known)
        for name, least in (("inner_steps", 1), ("trajectories", 1), ("mdps", 1), ("repeats", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}.")
        if not (np.isfinite(self.inner_rate) and self.inner_rate > 0):
            raise ValueError(f"inner_rate must be positive and finite, got {self.inner_rate}.")
        if not (np.isfinite(self.value_noise) and self.value_noise >= 0):
            raise ValueError(f"value_noise must be finite and not below 0, got {self.value_noise}.")
        refuse_seed(self.seed)

    @property
    def condition(self) -> Condition:
        """What of it a compiled program takes as data."""
        at = ESTIMATORS.index(self.estimator)
        sampling = Sampling(jnp.int32(at), jnp.asarray(self.value_noise))
        injected = Injected(jnp.asarray(self.hessian_offset), jnp.asarray(self.hessian_noise))
        return Condition(sampling, roles_of(self.roles), jnp.asarray(self.inner_rate), injected)

    @property
    def program(self) -> tuple[Any, ...]:
        """What is compiled; settings of one program are best computed one after another."""
        return self.problem, self.inner_steps, self.trajectories, self.mdps, self.repeats

    def measured(self) -> dict[str, Any]:
        """What is kept of it, as plain JSON."""
        return rounded(summary(measure(self)))


class Result(NamedTuple):
    """Of each MDP; a component is one of phi's."""

    acc: Float[Array, "M"]  # cosine to the exact meta-gradient (Eq. 68), mean over repeats
    centred_acc: Float[Array, "M"]  # the same, each gradient's mean component taken off
    std_sum: Float[Array, "M"]  # unbiased standard deviation over repeats, summed over components
    trace_variance: Float[Array, "M"]  # unbiased variance over repeats, summed over components
    mse_of_mean: Float[Array, "M"]  # of the mean estimate, mean over components
    theta_mse: Float[Array, "M K"]  # of theta_k from exact steps', mean over components and repeats
    size: Float[Array, "M n"]  # root mean square of each component


def cosine(x: Float[Array, "*b n"], y: Float[Array, "*b n"]) -> Float[Array, "*b"]:
    """x'y / sqrt(x'x y'y)."""
    return jnp.sum(x * y, axis=-1) / jnp.sqrt(jnp.sum(x * x, axis=-1) * jnp.sum(y * y, axis=-1))


def centred(x: Float[Array, "*b n"]) -> Float[Array, "*b n"]:
    """Without its mean."""
    return x - jnp.mean(x, axis=-1, keepdims=True)


def compared(found: Float[Array, "M R n"], true: Float[Array, "M n"]) -> dict[str, Array]:
    """The fields of `Result` that compare meta-gradients."""
    truth = jnp.broadcast_to(true[:, None], found.shape)
    variance = jnp.var(found, axis=1, ddof=1)
    return {
        "acc": jnp.mean(cosine(found, truth), axis=1),
        "centred_acc": jnp.mean(cosine(centred(found), centred(truth)), axis=1),
        "std_sum": jnp.sum(jnp.sqrt(variance), axis=-1),
        "trace_variance": jnp.sum(variance, axis=-1),
        "mse_of_mean": jnp.mean((jnp.mean(found, axis=1) - true) ** 2, axis=-1),
        "size": jnp.sqrt(jnp.mean(found**2, axis=1)),
    }


def measure(setting: Setting) -> Result:
    """Of fresh MDPs and repeats, the same for every setting of equal seed; in float64 where that is
    enabled. Arrays of NumPy."""
    key_mdps, key_repeats = jax.random.split(jax.random.key(setting.seed))
    problem, num_updates = setting.problem, setting.inner_steps
    mdps = _mdps(jax.random.split(key_mdps, setting.mdps))
    true, theta = _truth(problem, num_updates)(mdps, setting.condition.learning_rate)
    keys = jax.random.split(key_repeats, (setting.mdps, setting.repeats))
    estimates = _estimates(problem, num_updates, setting.trajectories)
    found, found_theta = estimates(setting.condition, mdps, keys)
    error = (found_theta - np.asarray(theta)[:, None]) ** 2
    result = Result(**_compared(found, true), theta_mse=np.mean(error, axis=(1, 3, 4))[:, 1:])
    return jax.tree.map(np.asarray, result)


# Each compiled for sizes alone, and apart: most settings of a study share all but the last.
_mdps = jax.jit(jax.vmap(sample_mdp), compiler_options=QUICKLY)
_compared = jax.jit(compared, compiler_options=QUICKLY)


@cache
def _truth(problem: str, num_updates: int) -> Callable[..., tuple[Array, Array]]:
    """(MDPs, rate) to the flat meta-gradients [M, n], and theta_0 to theta_K."""
    meaning = MEANINGS[problem]

    def of_mdp(mdp: MDP, rate: Array) -> tuple[Array, Array]:
        arguments = (meaning, mdp, first_phi(problem, mdp), num_updates, rate)
        return ravel_pytree(exact_meta_gradient(*arguments))[0], theta_after(*arguments)

    return jax.jit(jax.vmap(of_mdp, in_axes=(0, None)), compiler_options=QUICKLY)


@cache
def _estimates(
    problem: str, num_updates: int, num_trajectories: int
) -> Callable[..., tuple[Array, Array]]:
    """(condition, MDPs, keys) to flat estimates [M, R, n] and their theta; estimator, roles, rates
    and noise are data."""

    def estimate(condition: Condition, mdp: MDP, key: Array) -> tuple[Array, Array]:
        found = meta_gradient(
            key, MEANINGS[problem], mdp, first_phi(problem, mdp), condition, num_updates,
            num_trajectories,
        )  # fmt: skip
        return ravel_pytree(found.meta_gradient)[0], found.theta

    repeats = jax.vmap(estimate, in_axes=(None, None, 0))
    return jax.jit(jax.vmap(repeats, in_axes=(None, 0, 0)), compiler_options=QUICKLY)


def summary(result: Result) -> dict[str, Any]:
    """Means over MDPs as plain JSON, and their standard errors where there are several MDPs.

    Sizes of components are left out where phi is a table.
    """
    found: dict[str, Any] = {}
    for name, array in result._asdict().items():
        if name == "size" and array.shape[1] > 2:
            continue
        each: Sequence[float] | float = np.mean(array, axis=0).tolist()
        found[name] = each
        if len(array) > 1 and np.ndim(array) == 1:
            found[f"{name}_se"] = float(np.std(array, ddof=1) / np.sqrt(len(array)))
    return found
