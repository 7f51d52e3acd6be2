"""Two learners in the iterated prisoner's dilemma, each foreseeing the other's step (figure 9).

Source: Liu et al. 2022, appendix I.2 and Table 3; spec/bias.md, section 7.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from envs.matrix_game import MIRRORED_OUTCOME, PRISONERS_DILEMMA, mirrored
from lpg.runs.seed import refuse_seed
from metatrain.bias.accuracy import QUICKLY, centred, cosine
from metatrain.bias.kept import over_seeds, rounded
from metatrain.bias.lola import (
    GAMMA,
    Estimate,
    Games,
    Plan,
    Source,
    exact_return,
    meta_gradient,
    sample,
)

ADAM = optax.adam(0.1)  # of both players' theta, and of their baselines
BUFFER = 1024  # games (Table 3)
FRESH = 256  # of them replaced in an update: 128 for each player's look ahead
EVALUATED = 128  # fresh games that a point's reward is the mean of
EVERY = 10  # updates from point to point


@dataclass(frozen=True)
class Dilemma:
    """One curve of figure 9."""

    composition: Source = 128
    hessian: Source = 128
    outer: Source = 128
    lookaheads: int = 1
    updates: int = 500
    seeds: int = 40
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("composition", "hessian", "outer"):
            given, words = getattr(self, name), ("exact", "buffer")[: 1 if name == "outer" else 2]
            if given not in words and not (isinstance(given, int) and given > 0):
                known = " or ".join(("a number of games", *words))
                raise ValueError(f"{name} must be {known}, got {given!r}.")
        if self.updates < EVERY or self.updates % EVERY:
            raise ValueError(f"updates must be a multiple of {EVERY}, got {self.updates}.")
        for name, least in (("lookaheads", 0), ("seeds", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}.")
        refuse_seed(self.seed)

    @property
    def plan(self) -> Plan:
        """Of its meta-gradients."""
        return Plan(self.composition, self.hessian, self.outer, self.lookaheads)

    @property
    def program(self) -> tuple[Any, ...]:
        """What is compiled: each curve apart."""
        return (*map(str, self.plan), self.updates, self.seeds)

    def measured(self) -> dict[str, Any]:
        """What is kept of it, as plain JSON."""
        return rounded(summary(measure(self)))


class Players(NamedTuple):
    """Both, the first player first."""

    theta: Float[Array, "2 5"]
    value: Float[Array, "2 5"]  # the baselines
    theta_optimizer: Any  # Adam's
    value_optimizer: Any
    buffer: Games | None  # as the first player sees them; the oldest last


class Point(NamedTuple):
    """Of a learning curve; means over both players."""

    reward: Float[Array, "*b"]  # of a round, in fresh games of 100
    value: Float[Array, "*b"]  # exact discounted return, in units of a round
    acc: Float[Array, "*b"]  # cosine of a meta-gradient to the exact one at the same theta
    outer_exact_acc: Float[Array, "*b"]  # the same of one whose outer gradient is exact
    centred_acc: Float[Array, "*b"]  # as `acc`, each gradient's mean component taken off


def born(key: Array, plan: Plan) -> Players:
    """Players who toss a coin, and a full buffer of their games where the plan asks for one."""
    theta = value = jnp.zeros((2, 5))
    buffered = "buffer" in (plan.composition, plan.hessian)
    buffer = sample(key, theta[0], theta[1], BUFFER) if buffered else None
    return Players(theta, value, ADAM.init(theta), ADAM.init(value), buffer)


def estimate(plan: Plan, players: Players, key: Array) -> tuple[Games | None, Estimate]:
    """Both players' meta-gradients [2, 5], and the buffer with the fresh games they took."""
    key_buffer, key_players = jax.random.split(key)
    buffer, seen = players.buffer, None
    if buffer is not None:
        buffer = renewed(buffer, sample(key_buffer, players.theta[0], players.theta[1], FRESH))
        seen = jax.tree.map(lambda *x: jnp.stack(x), swapped(buffer), buffer)  # by the opponents
    each = jax.vmap(partial(meta_gradient, plan))
    theta, value = players.theta, players.value
    keys = jax.random.split(key_players)
    return buffer, each(keys, theta, theta[::-1], seen, value, value[::-1])


def learned(plan: Plan, players: Players, key: Array) -> Players:
    """One update of both at once."""
    buffer, found = estimate(plan, players, key)
    theta, theta_optimizer = descended(players.theta, -found.gradient, players.theta_optimizer)
    value, value_optimizer = players.value, players.value_optimizer
    if found.games is not None:
        slope = jax.vmap(jax.grad(value_error))(value, found.games)
        value, value_optimizer = descended(value, slope, value_optimizer)
    return Players(theta, value, theta_optimizer, value_optimizer, buffer)


def descended(params: Array, slope: Array, optimizer: Any) -> tuple[Array, Any]:
    """A step of Adam."""
    step, optimizer = ADAM.update(slope, optimizer)
    return params + cast(Array, step), optimizer


def value_error(value: Float[Array, "5"], games: Games) -> Float[Array, ""]:
    """From a round's reward alone, as the authors' code has it, and not from what is to come."""
    reward = jnp.array(PRISONERS_DILEMMA)[games.rounds.outcome]
    return jnp.mean((reward - value[games.rounds.state]) ** 2)


def swapped(games: Games) -> Games:
    """As the other player sees them."""
    return games._replace(rounds=mirrored(games.rounds))


def renewed(buffer: Games, fresh: Games) -> Games:
    """With fresh games first, and as many of the oldest gone."""
    return jax.tree.map(lambda new, old: jnp.concatenate([new, old], 1)[:, :BUFFER], fresh, buffer)


def life(plan: Plan, num_points: int, key: Array) -> Point:
    """One learning curve: [num_points] each."""

    def point(players: Players, key: Array) -> tuple[Players, Point]:
        key_updates, key_end = jax.random.split(key)
        keys = jax.random.split(key_updates, EVERY)
        players, _ = jax.lax.scan(lambda x, key: (learned(plan, x, key), None), players, keys)
        return players, evaluated(plan, players, key_end)

    key_born, key_points = jax.random.split(key)
    keys = jax.random.split(key_points, num_points)
    return jax.lax.scan(point, born(key_born, plan), keys)[1]


def evaluated(plan: Plan, players: Players, key: Array) -> Point:
    """What the players are worth, and how well they know where to go."""
    key_games, key_estimate = jax.random.split(key)
    theta, payoff = players.theta, jnp.array(PRISONERS_DILEMMA)
    both = (payoff + payoff[jnp.array(MIRRORED_OUTCOME)]) / 2
    outcome = sample(key_games, theta[0], theta[1], EVALUATED).rounds.outcome
    value = jnp.mean(jax.vmap(exact_return)(theta, theta[::-1])) * (1 - GAMMA)
    found = estimate(plan, players, key_estimate)[1]
    exact = Plan("exact", "exact", "exact", plan.lookaheads)
    true = estimate(exact, players._replace(buffer=None), key_estimate)[1].gradient
    accuracies = (
        cosine(found.gradient, true),
        cosine(found.outer_exact, true),
        cosine(centred(found.gradient), centred(true)),
    )
    return Point(jnp.mean(both[outcome]), value, *map(jnp.mean, accuracies))


def measure(setting: Dilemma) -> Point:
    """[seeds, points], NumPy; the same seeds for every setting. In float32 always: what is asked
    is how well agents do, and they learn in float32."""
    with jax.enable_x64(False):
        keys = jax.random.split(jax.random.key(setting.seed), setting.seeds)
        one = partial(life, setting.plan, setting.updates // EVERY)
        program = jax.jit(lambda keys: jax.lax.map(one, keys), compiler_options=QUICKLY)
        return jax.tree.map(np.asarray, program(keys))


def summary(curves: Point) -> dict[str, Any]:
    """Means over seeds and their standard errors, by points; the last reward of every seed."""
    return {**over_seeds(curves._asdict()), "last_rewards": curves.reward[:, -1].tolist()}
