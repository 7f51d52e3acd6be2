"""Lives so small that all their trajectories can be told, and LPG's meta-gradient through them:
exact, of infinitely many rollouts under a surrogate, and of a few.

In truth an update is f(theta) = sum over trajectories of their odds times LPG's whole update of
them, and a meta-gradient goes through the odds too. Environments start anew at each update: of what
carrying them over does, this says nothing.

Source: spec/bias.md, section 12; Oh et al. 2020, Eqs. 2 and 3.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from envs.tabular_mdp import MDP, state_values
from lpg.agent import Body
from lpg.agents.table import TableAgent
from lpg.heads import action_log_prob
from lpg.losses.estimators import LearnedSurrogate, update_weight
from lpg.optimizers import SGD
from lpg.rule import Hypers, RuleParams, rule_inputs
from lpg.rules.lpg import LPG
from lpg.trajectory import Trajectory
from lpg.update import AgentState, agent_step

SURROGATES: tuple[LearnedSurrogate, ...] = get_args(LearnedSurrogate)
NUM_STATES, NUM_ACTIONS, NUM_STEPS = 6, 2, 8
NUM_TRAJECTORIES = NUM_ACTIONS**NUM_STEPS  # 256
GAMMA = 0.8  # of the return and of LPG's inputs
PREDICTION_COST = 0.5  # alpha_y, the middle of Table 3's
RULE = LPG(hidden_size=16, prediction_size=8, prediction_input="centred")
BODY = Body(TableAgent(RULE.heads(NUM_ACTIONS), NUM_STATES), jnp.ones(NUM_ACTIONS, bool))


class Life(NamedTuple):
    """A deterministic MDP that starts in state 0, and a newborn table."""

    following: Int[Array, "S A"]  # the next state
    reward: Float[Array, "S A"]
    theta: Float[Array, "S n"]  # logits of the policy and of y


class Way(NamedTuple):
    """How updates come about, as data."""

    surrogate: Int[Array, ""]  # its place in SURROGATES
    odds_follow: Bool[Array, ""]  # of all trajectories: whether their odds are differentiated
    learning_rate: Float[Array, ""]


Step = Callable[[RuleParams, Array, Array], Array]  # eta, theta and a key to the next theta


def way_of(surrogate: str, learning_rate: float, exact: bool = False) -> Way:
    """A way to update; `exact` is with odds that follow theta, under any surrogate but score."""
    at = jnp.int32(SURROGATES.index(surrogate))
    return Way(at, jnp.asarray(exact), jnp.asarray(learning_rate))


def sample_life(key: Array) -> Life:
    """Next states uniform, rewards -1, 0 or 1 as LPG knows them, a table as they are born."""
    key_following, key_reward, key_theta = jax.random.split(key, 3)
    shape = (NUM_STATES, NUM_ACTIONS)
    following = jax.random.randint(key_following, shape, 0, NUM_STATES)
    reward = jax.random.randint(key_reward, shape, -1, 2).astype(float)
    theta = BODY.agent.init(key_theta, jnp.asarray(NUM_STATES)).astype(float)
    return Life(following, reward, theta)


def expected_return(life: Life, theta: Float[Array, "S n"]) -> Float[Array, ""]:
    """V(s_0) over an infinite horizon."""
    mdp = MDP(jax.nn.one_hot(life.following, NUM_STATES, dtype=theta.dtype), life.reward)
    return state_values(mdp, jax.nn.softmax(theta[:, :NUM_ACTIONS]), GAMMA)[0]


def all_trajectories(life: Life) -> Trajectory:
    """One of each, a column each; none ends."""
    every = np.indices((NUM_ACTIONS,) * NUM_STEPS).reshape(NUM_STEPS, NUM_TRAJECTORIES)
    actions = jnp.asarray(every, jnp.int32)

    def step(state: Array, action: Array) -> tuple[Array, tuple[Array, Array]]:
        return life.following[state, action], (state, life.reward[state, action])

    start = jnp.zeros(NUM_TRAJECTORIES, life.following.dtype)
    last, (state, reward) = jax.lax.scan(step, start, actions)
    never = jnp.zeros(actions.shape, bool)
    states = jnp.concatenate([state, last[None]])
    return Trajectory(states, actions, reward, never, never, jnp.zeros_like(reward))


def log_odds(theta: Float[Array, "S n"], trajectory: Trajectory) -> Float[Array, "B"]:
    """Of each trajectory under theta's policy."""
    logits = BODY.outputs(theta, trajectory.observation).logits[:-1]
    return jnp.sum(action_log_prob(logits, trajectory.action), axis=0)


def updated(
    eta: RuleParams,
    theta: Float[Array, "S n"],
    trajectory: Trajectory,
    weight: Float[Array, "B"],
    way: Way,
) -> Float[Array, "S n"]:
    """LPG's update of the trajectories' mean, by weights whose mean is 1."""
    hypers = Hypers(way.learning_rate, jnp.asarray(PREDICTION_COST), jnp.asarray(GAMMA))
    inputs = rule_inputs(BODY.outputs(theta, trajectory.observation), trajectory, hypers.gamma)
    targets = RULE.targets(eta, inputs)

    def by(surrogate: LearnedSurrogate) -> Array:
        whole = jnp.broadcast_to(weight, inputs.reward.shape)
        own = update_weight(surrogate, inputs.action_prob)
        whole = whole if own is None else whole * own
        rule, state = replace(RULE, surrogate=surrogate), AgentState(theta, SGD.init(theta))
        weighed = targets._replace(weight=whole)
        return agent_step(rule, BODY, SGD, state, trajectory, weighed, hypers).params

    return jax.lax.switch(way.surrogate, [partial(by, name) for name in SURROGATES])


def expected_step(life: Life, way: Way) -> Step:
    """By all trajectories at their odds: what infinitely many rollouts come to."""
    trajectory = all_trajectories(life)

    def step(eta: RuleParams, theta: Array, key: Array) -> Array:
        del key
        odds = jnp.exp(log_odds(theta, trajectory))
        odds = jnp.where(way.odds_follow, odds, jax.lax.stop_gradient(odds))
        return updated(eta, theta, trajectory, NUM_TRAJECTORIES * odds, way)

    return step


def sampled_step(life: Life, way: Way, num_envs: int) -> Step:
    """By n rollouts: draws from all trajectories."""
    every = all_trajectories(life)

    def step(eta: RuleParams, theta: Array, key: Array) -> Array:
        odds = log_odds(jax.lax.stop_gradient(theta), every)
        drawn = jax.random.categorical(key, odds, shape=(num_envs,))
        trajectory = jax.tree.map(lambda x: x[:, drawn], every)
        return updated(eta, theta, trajectory, jnp.ones(num_envs, theta.dtype), way)

    return step


def meta_gradient(
    step: Step, eta: RuleParams, life: Life, keys: Array
) -> tuple[Float[Array, ""], RuleParams]:
    """The return of theta_K, exact, and its gradient with respect to eta; one key an update."""

    def outer(eta: RuleParams) -> Array:
        def once(theta: Array, key: Array) -> tuple[Array, None]:
            return step(eta, theta, key), None

        theta, _ = jax.lax.scan(once, life.theta, keys)
        return expected_return(life, theta)

    return jax.value_and_grad(outer)(eta)
