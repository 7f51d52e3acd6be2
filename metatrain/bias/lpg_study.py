"""How biased LPG's own meta-gradient is: surrogates by agent updates, rollouts and lifetimes.

Lives are many and small, their outer returns exact, and eta is one at birth and one that exact
meta-gradients have trained: a rule that does nothing yet hides what is wrong with its derivative.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from lpg.rule import RuleParams
from metatrain.bias.accuracy import QUICKLY
from metatrain.bias.small_lives import (
    RULE,
    SURROGATES,
    Life,
    Way,
    expected_step,
    meta_gradient,
    sample_life,
    sampled_step,
    way_of,
)

TRAINING_UPDATES, TRAINING_LIVES, TRAINING_RATE = 5, 8, 3e-3  # K, lives a step, Adam's rate
MAX_SHARE = 5.0  # as meta-training bounds lifetimes' shares (metatrain/shares.py)
SIZES = (1, 4, 16, 64)  # lifetimes that a meta-gradient is the mean of
RATES = (5.0, 40.0)  # of agents, beside the usual one


@dataclass(frozen=True)
class Cell:
    """One point of the study."""

    rule: str = "trained"  # or newborn
    surrogate: str = "autodiff"
    inner_steps: int = 5  # K
    environments: int | None = 16  # n, rollouts an update; None is all, at their odds
    inner_rate: float = (
        20.0  # alpha of agents and of the training; the least of Table 3's for tables
    )
    lives: int = 64
    repeats: int = 8
    meta_steps: int = 300  # of exact meta-training, where the rule is a trained one
    seed: int = 0

    @property
    def program(self) -> tuple[Any, ...]:
        """What is compiled; surrogate and rule are data."""
        return self.inner_steps, self.environments or 0, self.lives, self.repeats

    def measured(self) -> dict[str, Any]:
        """What is kept of it, as plain JSON."""
        return measure(self)


def cells_of(quick: bool = False, seed: int = 0) -> list[Cell]:
    """K by itself, n by itself at two K, and agents' learning rates; quick ones are fewer."""
    usual = Cell(lives=8, repeats=4, meta_steps=20, seed=seed) if quick else Cell(seed=seed)
    steps = (1, 3) if quick else (1, 2, 3, 5, 10, 20)
    sizes = ((3, 4),) if quick else tuple((k, n) for k in (5, 20) for n in (4, 64))
    points = [(k, n, usual.inner_rate) for k in steps for n in (16, None)]
    points += [(k, n, usual.inner_rate) for k, n in sizes]
    points += [] if quick else [(5, n, rate) for rate in RATES for n in (16, None)]
    return [
        replace(
            usual, inner_steps=k, environments=n, inner_rate=rate, rule=rule, surrogate=surrogate
        )
        for k, n, rate in points
        for rule in ("newborn", "trained")
        for surrogate in SURROGATES
    ]


def newborn(seed: int) -> RuleParams:
    """eta at birth, in float64 where that is enabled."""
    return jax.tree.map(lambda x: x.astype(float), RULE.init(jax.random.key(seed)))


@cache
def trained(seed: int, meta_steps: int, inner_rate: float) -> RuleParams:
    """eta after Adam up the exact return of theta_K, on fresh lives at each step."""
    optimizer = optax.adam(TRAINING_RATE)
    way = way_of("autodiff", inner_rate, exact=True)

    def step(carry: tuple[RuleParams, Any], key: Array) -> tuple[Any, None]:
        eta, state = carry
        lives = jax.vmap(sample_life)(jax.random.split(key, TRAINING_LIVES))
        keys = jax.random.split(key, (TRAINING_LIVES, 1))
        _, grads = of_lives(TRAINING_UPDATES, 0, eta, way, lives, keys)
        grads = jax.tree.map(lambda x: -jnp.mean(x, axis=(0, 1)), grads)
        updates, state = optimizer.update(grads, state, eta)
        return (optax.apply_updates(eta, updates), state), None

    eta = newborn(seed)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1), meta_steps)
    train = jax.jit(partial(jax.lax.scan, step), compiler_options=QUICKLY)
    (eta, _), _ = train((eta, optimizer.init(eta)), keys)
    return eta


def of_lives(
    num_updates: int, num_envs: int, eta: RuleParams, way: Way, lives: Life, keys: Array
) -> tuple[Float[Array, "L R"], RuleParams]:
    """Returns and meta-gradients of each life and repeat; `keys` are [L, R], n = 0 is all."""

    def of_life(x: tuple[Life, Array]) -> Any:
        life, keys = x
        step = sampled_step(life, way, num_envs) if num_envs else expected_step(life, way)

        def once(key: Array) -> Any:
            return meta_gradient(step, eta, life, jax.random.split(key, num_updates))

        return jax.vmap(once)(keys)

    return jax.lax.map(of_life, (lives, keys))  # not at once, for memory's sake


@cache
def _program(num_updates: int, num_envs: int, num_lives: int, repeats: int) -> Callable[..., Any]:
    """Compiled; flat gradients [L, R, n] of a rule's parameters, a way and a key."""

    def program(eta: RuleParams, way: Way, key: Array) -> Array:
        key_lives, key_repeats = jax.random.split(key)
        lives = jax.vmap(sample_life)(jax.random.split(key_lives, num_lives))
        keys = jax.random.split(key_repeats, (num_lives, repeats))
        _, grads = of_lives(num_updates, num_envs, eta, way, lives, keys)
        return jax.vmap(jax.vmap(lambda x: ravel_pytree(x)[0]))(grads)

    return jax.jit(program, compiler_options=QUICKLY)


def measure(cell: Cell) -> dict[str, Any]:
    """A cell's figures as plain JSON; the same lives and draws for all surrogates."""
    true = _exact(replace(cell, surrogate="autodiff", environments=None, repeats=1))[:, 0]
    repeats = cell.repeats if cell.environments else 1
    program = _program(cell.inner_steps, cell.environments or 0, cell.lives, repeats)
    way = way_of(cell.surrogate, cell.inner_rate)
    found = program(_eta(cell), way, jax.random.key(cell.seed))
    return compared(np.asarray(found), true)


def _eta(cell: Cell) -> RuleParams:
    if cell.rule == "newborn":
        return newborn(cell.seed)
    return trained(cell.seed, cell.meta_steps, cell.inner_rate)


@cache
def _exact(cell: Cell) -> Float[np.ndarray, "L 1 n"]:
    way = way_of("autodiff", cell.inner_rate, exact=True)
    program = _program(cell.inner_steps, 0, cell.lives, 1)
    return np.asarray(program(_eta(cell), way, jax.random.key(cell.seed)))


def compared(found: Float[np.ndarray, "L R n"], true: Float[np.ndarray, "L n"]) -> dict[str, Any]:
    """What estimates of lives and repeats are worth beside exact gradients.

    Acc is by how many lifetimes a meta-gradient is the mean of; `acc_bounded` where each counts for
    MAX_SHARE median ones at most. Of each life, in units of its exact gradient: `bias`, how far
    expectations are off, what few repeats add taken off, and `noise`, the root of the trace of the
    variance; medians over lives.
    """
    repeats = found.shape[1]
    variance = found.var(axis=1, ddof=1) if repeats > 1 else np.zeros_like(true)
    trace, size = variance.sum(axis=-1), np.linalg.norm(true, axis=-1)
    off = ((found.mean(axis=1) - true) ** 2).sum(axis=-1) - trace / repeats
    acc, error = _acc(found, true)
    bounded, _ = _acc(_bounded(found), true)
    return {
        "acc": acc,
        "acc_se": error,
        "acc_bounded": bounded,
        "std_sum": float(np.sqrt(variance).sum(axis=-1).mean()),
        "trace_variance": float(trace.mean()),
        "bias": float(np.median(np.sqrt(np.maximum(off, 0.0)) / size)),
        "noise": float(np.median(np.sqrt(trace) / size)),
        "size": float(np.median(size)),
    }


def _acc(
    found: Float[np.ndarray, "L R n"], true: Float[np.ndarray, "L n"]
) -> tuple[dict[str, float], dict[str, float]]:
    """Cosines of the means over groups of lives, and their standard errors over groups."""
    acc, error = {}, {}
    for size in (n for n in SIZES if len(true) % n == 0):
        mean, truth = (x.reshape(-1, size, *x.shape[1:]).mean(axis=1) for x in (found, true))
        length = np.linalg.norm(mean, axis=-1) * np.linalg.norm(truth, axis=-1)[:, None]
        each = (np.einsum("grn,gn->gr", mean, truth) / length).mean(axis=1)
        acc[str(size)] = float(each.mean())
        if len(each) > 1:
            error[str(size)] = float(each.std(ddof=1) / np.sqrt(len(each)))
    return acc, error


def _bounded(found: Float[np.ndarray, "L R n"]) -> Float[np.ndarray, "L R n"]:
    norm = np.linalg.norm(found, axis=-1, keepdims=True)
    return found * np.minimum(1.0, MAX_SHARE * np.median(norm, axis=0) / norm)
