"""The meta-gradient of the real window on fixed trajectories against central differences, float64.

Rollouts are replaced by a tape of prescribed trajectories, which makes the outer loss a smooth
function of eta; all else is what training runs: two cohorts, one rule call for both, the scan over
updates with rematerialisation, critics, normalised advantages, both optimisers.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from envs.rollout import EpisodeSummary, RolloutState
from envs.trajectory import Trajectory
from lpg.agents import make_agent
from lpg.learned_rule import LPG
from lpg.optimizers import make_optimizer
from lpg.rule import Heads, Hypers
from lpg.update import AgentState
from metatrain import window as window_module
from metatrain.cohort import Cohort
from metatrain.lifetime import LifetimeState
from metatrain.outer_objective import AdvantageStats, CriticState
from metatrain.presets import MetaTrainConfig
from metatrain.window import window_loss

T, B, STATES, FEATURES, ACTIONS, LIVES = 5, 4, 6, 3, 3, 2  # two lifetimes per cohort
WARM = 2  # Adam steps that the networks have behind them
RULE = LPG(hidden_size=8, prediction_size=5, embedding_size=4)
CONFIG = MetaTrainConfig(envs=("sparse", "dense"), lifetimes=2 * LIVES, num_envs=B, num_steps=T)


@dataclass(frozen=True)
class CutPredictions(LPG):
    """LPG that stops the gradient at its y inputs: the mistake that must be noticed."""

    def targets(self, rule_params, inputs):
        cut = inputs._replace(prediction=jax.lax.stop_gradient(inputs.prediction))
        return super().targets(rule_params, cut)


@dataclass(frozen=True)
class MaskedActions:
    """All that the window asks of an environment once rollouts are prescribed."""

    num_actions: int = ACTIONS

    def action_mask(self, params):
        return params


class Tape(NamedTuple):
    """Stands in for an environment's state: the trajectories to come, and where we are."""

    position: Any
    trajectories: Trajectory  # leading axis: update


def play(key, env, env_params, policy, state, num_steps):
    """`rollout` with nothing left to chance or to eta."""
    del key, env, env_params, policy, num_steps
    tape = state.env_state
    trajectory = jax.tree.map(lambda x: x[tape.position], tape.trajectories)
    moved = state._replace(env_state=tape._replace(position=tape.position + 1))
    zero = jnp.zeros(())
    return moved, trajectory, EpisodeSummary(zero, zero, zero)


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    monkeypatch.setattr(window_module, "rollout", play)
    with jax.enable_x64(True):
        yield


def trajectories(rng, shape, tabular):
    """Random trajectories [*shape, T, B]; the last action is not used, some episodes end."""
    observation = (
        rng.integers(0, STATES, (*shape, T + 1, B)).astype(np.int32)
        if tabular
        else rng.normal(size=(*shape, T + 1, B, FEATURES))
    )
    return Trajectory(
        observation=observation,
        action=rng.integers(0, ACTIONS - 1, (*shape, T, B)).astype(np.int32),
        reward=rng.normal(size=(*shape, T, B)),
        terminated=rng.random((*shape, T, B)) < 0.15,
        truncated=rng.random((*shape, T, B)) < 0.05,
    )


def random_like(rng, tree, scale):
    return jax.tree.map(lambda x: x + scale * rng.normal(size=x.shape), tree)


def make_cohort(tabular, optimizer):
    architecture = "table" if tabular else "D(7)"
    shape = dict(num_states=STATES, observation_shape=(FEATURES,))
    return Cohort(
        names=("planted",), env=MaskedActions(), base_params=None,
        agent=make_agent(architecture, RULE.heads(ACTIONS), **shape),
        optimizer=optimizer,
        critic=make_agent(architecture, Heads(logits=0, value=1), **shape),
        critic_optimizer=optax.identity() if tabular else optax.adam(1e-2),
        learning_rates=np.ones(1), kl_costs=np.ones(1), lifetime_windows=np.ones(1),
        random_return=np.zeros(1), best_return=np.ones(1),
        lifetimes_per_env=LIVES, first_index=0 if tabular else LIVES,
    )  # fmt: skip


def make_lifetimes(cohort, num_updates, seed):
    """Lifetimes in mid-life: agents, critics and optimisers with a past."""
    rng = np.random.default_rng(seed)
    tabular = cohort.critic_optimizer.init({}) == optax.EmptyState()
    keys = jax.random.split(jax.random.key(seed), LIVES)
    count = jnp.full((LIVES,), STATES, jnp.int32)
    params = random_like(rng, jax.vmap(cohort.agent.init)(keys, count), 0.5)
    critic = random_like(rng, jax.vmap(cohort.critic.init)(keys, count), 0.5)
    tape = trajectories(rng, (LIVES, num_updates), tabular)
    first = trajectories(rng, (LIVES,), tabular)
    zeros = jnp.zeros((LIVES,))
    return LifetimeState(
        env_params=jnp.array([[True] * ACTIONS, [True] * (ACTIONS - 1) + [False]]),
        arm=jnp.zeros((LIVES,), jnp.int32),
        hypers=Hypers(
            learning_rate=jnp.array([2.0, 3.0]) if tabular else jnp.array([0.05, 0.1]),
            kl_cost=jnp.array([0.5, 1.0]),
            gamma=jnp.array([0.9, 0.99]),
        ),
        policy_entropy_cost=jnp.array([0.01, 0.02]),
        age=jnp.zeros((LIVES,), jnp.int32),
        duration=jnp.ones((LIVES,), jnp.int32),
        scored=jnp.ones((LIVES,), bool),
        agent=AgentState(params, jax.vmap(cohort.optimizer.init)(params)),
        critic=CriticState(critic, jax.vmap(cohort.critic_optimizer.init)(critic)),
        advantage_stats=AdvantageStats(zeros, zeros, zeros),
        rollout=RolloutState(
            Tape(jnp.zeros((LIVES,), jnp.int32), jax.tree.map(jnp.asarray, tape)),
            jnp.asarray(first.observation[:, -1]),
            jnp.zeros((LIVES, B)),
        ),
        trajectory=jax.tree.map(jnp.asarray, first),
        late=EpisodeSummary(zeros, zeros, zeros),
    )


def eta_and_unravel(rule=RULE):
    eta = random_like(np.random.default_rng(1), rule.init(jax.random.key(0)), 0.3)
    return ravel_pytree(jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), eta))


def lifetime_losses(rule, config, cohorts, eta, lifetimes):
    """Of one window: total, and each lifetime's loss and policy-gradient term [2 LIVES]."""
    keys = tuple(jax.random.split(jax.random.key(9), LIVES) for _ in cohorts)
    total, (after, reports) = window_loss(
        rule, config, cohorts, eta_and_unravel(rule)[1](eta), lifetimes, keys
    )
    losses = jnp.concatenate([report.loss.total for report in reports])
    returns = jnp.concatenate([report.loss.policy_gradient for report in reports])
    return total, losses, returns, after
