"""Meta-gradients of players who foresee what their opponent learns (LOLA), by DiCE or exactly.

A player's return is taken against the opponent after its next step, which the player's parameters
bear on. That step's value, its derivative and the outer gradient are each estimated or exact.
theta are logits of a player's action 0 by what it sees; `own` is whose return is meant.

Source: Foerster et al. 2018 (LOLA; DiCE); Liu et al. 2022, appendix I.2; spec/bias.md, section 7.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from envs.matrix_game import PRISONERS_DILEMMA, Rounds, game_value, outcome_log_prob, play
from lpg.losses.estimators import dice, dice_baseline
from metatrain.bias.decomposition import joined

GAMMA, NUM_ROUNDS, INNER_RATE = 0.96, 100, 0.3  # Table 3
Source = int | Literal["exact", "buffer"]  # how many fresh games, or none
Return = Callable[[Array, Array], Array]  # own, other to own's return


class Plan(NamedTuple):
    """Where each role's gradient comes from."""

    composition: Source
    hessian: Source
    outer: Source
    lookaheads: int = 1


class Games(NamedTuple):
    """Rounds, and how probable the two players' actions were when they were played."""

    rounds: Rounds
    log_prob: Float[Array, "T n"]


class Estimate(NamedTuple):
    """Of one player's meta-gradient."""

    gradient: Float[Array, "5"]
    outer_exact: Float[Array, "5"]  # the same but for its outer role
    games: Games | None  # the outer role's; None where it is exact


def log_prob_of(own: Float[Array, "5"], other: Float[Array, "5"], rounds: Rounds) -> Array:
    """Of both players' actions: [T, n]."""
    return outcome_log_prob(own, other).reshape(-1)[4 * rounds.state + rounds.outcome]


def sample(key: Array, own: Float[Array, "5"], other: Float[Array, "5"], num_games: int) -> Games:
    """Fresh games."""
    own, other = stop_gradient((own, other))
    rounds = play(key, own, other, NUM_ROUNDS, num_games)
    return Games(rounds, log_prob_of(own, other, rounds))


def estimated_return(
    own: Float[Array, "5"], other: Float[Array, "5"], games: Games, value: Float[Array, "5"]
) -> Float[Array, ""]:
    """DiCE of both players' actions, with a baseline; by ratios to whoever played the games."""
    rounds, behaviour = games
    log_prob = log_prob_of(own, other, rounds)
    reward = jnp.array(PRISONERS_DILEMMA)[rounds.outcome]
    earned = reward * dice(log_prob, jnp.ones_like(log_prob), behaviour)
    earned += value[rounds.state] * dice_baseline(log_prob, behaviour)
    discount = GAMMA ** jnp.arange(len(reward))[:, None]
    return jnp.mean(jnp.sum(discount * earned, axis=0))


def exact_return(own: Float[Array, "5"], other: Float[Array, "5"]) -> Float[Array, ""]:
    """Over an infinite horizon."""
    return game_value(own, other, jnp.array(PRISONERS_DILEMMA), GAMMA)


def looked_ahead(
    plan: Plan,
    key: Array,
    own: Float[Array, "5"],
    other: Float[Array, "5"],
    buffer: Games | None,
    other_value: Float[Array, "5"],
) -> Float[Array, "5"]:
    """The opponent after steps up its own return, differentiable in `own`.

    Args:
        buffer: older games as the opponent sees them.
    """

    def slope(key: Array, source: Source, own: Array, other: Array) -> Array:
        returned: Return = exact_return
        if source != "exact":
            games = sample(key, other, own, source) if isinstance(source, int) else buffer
            returned = partial(estimated_return, games=cast(Games, games), value=other_value)
        return jax.grad(returned)(other, own)

    for each in jax.random.split(key, plan.lookaheads) if plan.lookaheads else ():
        key_composition, key_hessian = jax.random.split(each)
        value = slope(key_composition, plan.composition, *stop_gradient((own, other)))
        derivative = slope(key_hessian, plan.hessian, own, other)
        other = joined(other + INNER_RATE * value, other + INNER_RATE * derivative)
    return other


def meta_gradient(
    plan: Plan,
    key: Array,
    own: Float[Array, "5"],
    other: Float[Array, "5"],
    buffer: Games | None,
    own_value: Float[Array, "5"],
    other_value: Float[Array, "5"],
) -> Estimate:
    """Of own's return against the opponent after its steps."""
    key_inner, key_outer = jax.random.split(key)

    def ahead(own: Array) -> Array:
        return looked_ahead(plan, key_inner, own, other, buffer, other_value)

    after, pullback = jax.vjp(ahead, own)

    def total(returned: Return) -> Any:
        mine, theirs = jax.grad(returned, argnums=(0, 1))(own, after)
        return mine + pullback(theirs)[0]

    outer_exact = total(exact_return)
    if plan.outer == "exact":
        return Estimate(outer_exact, outer_exact, None)
    games = sample(key_outer, own, after, int(plan.outer))
    returned = partial(estimated_return, games=games, value=own_value)
    return Estimate(total(returned), outer_exact, games)
