"""How close estimates of a meta-gradient come to the exact one, over MDPs and repeats.

Source: Liu et al. 2022, Eq. 68 and Definition H.4; spec/bias.md, section 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from envs.tabular_mdp import MDP, sample_mdp
from lpg.runs.seed import refuse_seed
from metatrain.bias.decomposition import CODES, Condition, Injected, meta_gradient, roles_of
from metatrain.bias.exact import MEANINGS, exact_meta_gradient, first_phi, theta_after
from metatrain.bias.sampled import ESTIMATORS, Sampling

# Compiles in two thirds of the time, and the program is no slower.
QUICKLY = {"xla_backend_optimization_level": 1}


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
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}.")
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
    program = _program(
        setting.problem,
        setting.inner_steps,
        setting.trajectories,
        setting.mdps,
        setting.repeats,
        bool(jax.config.values["jax_enable_x64"]),
    )
    return jax.tree.map(np.asarray, program(jax.random.key(setting.seed), setting.condition))


@cache
def _program(
    problem: str, num_updates: int, num_trajectories: int, num_mdps: int, repeats: int, _: bool
) -> Any:
    """Compiled for sizes alone: estimator, roles, rates and noise are data."""
    meaning = MEANINGS[problem]

    def of_mdp(condition: Condition, mdp: MDP, keys: Array) -> tuple[Array, ...]:
        phi, rate = first_phi(problem, mdp), condition.learning_rate
        estimate = partial(
            meta_gradient,
            meaning=meaning, mdp=mdp, phi=phi, condition=condition,
            num_updates=num_updates, num_trajectories=num_trajectories,
        )  # fmt: skip
        found = jax.vmap(estimate)(keys)
        true = exact_meta_gradient(meaning, mdp, phi, num_updates, rate)
        theta = theta_after(meaning, mdp, phi, num_updates, rate)
        mse = jnp.mean((found.theta - theta[None]) ** 2, axis=(0, 2, 3))[1:]
        flat = jax.vmap(lambda x: ravel_pytree(x)[0])(found.meta_gradient)
        return flat, ravel_pytree(true)[0], mse

    def program(key: Array, condition: Condition) -> Result:
        key_mdps, key_repeats = jax.random.split(key)
        mdps = jax.vmap(sample_mdp)(jax.random.split(key_mdps, num_mdps))
        keys = jax.random.split(key_repeats, (num_mdps, repeats))
        found, true, mse = jax.vmap(partial(of_mdp, condition))(mdps, keys)
        return Result(**compared(found, true), theta_mse=mse)

    return jax.jit(program, compiler_options=QUICKLY)


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
