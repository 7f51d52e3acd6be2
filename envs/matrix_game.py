"""Two players' matrix games, played over and over by players who remember the last round.

A player sees one of five states: the start, or 1 + 2 own + other of the last round's actions. A
round's outcome is 2 own + other; all arrays are as the first player sees them, and `mirrored` has
them as the second does. Games are symmetric: the second player's payoff is the first's, mirrored.

Source: Foerster et al. 2018 (LOLA), section 4; Liu et al. 2022, appendix I.2.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from envs.tabular_mdp import drawn, running_sums

# Of outcomes. The matrix has it that action 0 defects and 1 cooperates, whatever the paper says.
PRISONERS_DILEMMA = (-2.0, 0.0, -3.0, -1.0)
MIRRORED_STATE = (0, 1, 3, 2, 4)
MIRRORED_OUTCOME = (0, 2, 1, 3)
NUM_STATES = 5


class Rounds(NamedTuple):
    """n games of T rounds."""

    state: Int[Array, "T n"]  # before the round
    outcome: Int[Array, "T n"]


def mirrored(rounds: Rounds) -> Rounds:
    """The same games as the other player sees them."""
    state, outcome = jnp.array(MIRRORED_STATE), jnp.array(MIRRORED_OUTCOME)
    return Rounds(state[rounds.state], outcome[rounds.outcome])


def outcome_log_prob(own: Float[Array, "5"], other: Float[Array, "5"]) -> Float[Array, "5 4"]:
    """log P(outcome | state) where each player takes action 0 by the sigmoid of its number for what
    it sees."""
    mine, theirs = (
        jnp.stack([jax.nn.log_sigmoid(x), jax.nn.log_sigmoid(-x)], axis=-1)
        for x in (own, other[jnp.array(MIRRORED_STATE)])
    )
    return (mine[:, :, None] + theirs[:, None, :]).reshape(NUM_STATES, 4)


def game_value(
    own: Float[Array, "5"],
    other: Float[Array, "5"],
    payoff: Float[Array, "4"],
    gamma: float | Float[Array, ""],
) -> Float[Array, ""]:
    """The first player's discounted payoff from the start on, forever; times 1 - gamma it is in
    units of a round."""
    odds = jnp.exp(outcome_log_prob(own, other))
    later = jnp.linalg.solve(jnp.eye(4) - gamma * odds[1:], odds[1:] @ payoff)
    return odds[0] @ (payoff + gamma * later)


def play(
    key: Array, own: Float[Array, "5"], other: Float[Array, "5"], num_rounds: int, num_games: int
) -> Rounds:
    """Games from the start, each round by a uniform in float32."""
    sums = running_sums(jnp.exp(outcome_log_prob(own, other)))

    def step(state: Array, uniform: Array) -> tuple[Array, Rounds]:
        outcome = drawn(sums[state], uniform)
        return 1 + outcome, Rounds(state, outcome)

    uniforms = jax.random.uniform(key, (num_rounds, num_games), jnp.float32)
    return jax.lax.scan(step, jnp.zeros(num_games, jnp.int32), uniforms)[1]
