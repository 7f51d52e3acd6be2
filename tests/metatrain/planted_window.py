"""Windows whose rollouts are prescribed: a cohort of tables and one of networks, in mid-life."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lpg.agents.make import make_agent
from lpg.heads import Heads
from lpg.optimizers import make_optimizer
from lpg.rollout import EpisodeSummary, RolloutState
from lpg.rule import Hypers
from lpg.rules.lpg import LPG
from lpg.trajectory import Trajectory
from lpg.update import AgentState
from metatrain.cohort import Cohort
from metatrain.lifetime import LifetimeState
from metatrain.outer_objective import AdvantageStats, CriticState

T, B, STATES, FEATURES, ACTIONS, LIVES = 5, 4, 6, 3, 3, 2  # two lifetimes per cohort
RULE = LPG(hidden_size=8, prediction_size=5, embedding_size=4)


@dataclass(frozen=True)
class MaskedActions:
    """All that the window asks of an environment once rollouts are prescribed."""

    num_actions: int = ACTIONS

    def action_mask(self, params):
        return params


class HeldAdam(NamedTuple):
    """State of Adam as in Kingma and Ba 2015, with the denominators of each update of a window."""

    count: Any
    mu: Any
    nu: Any
    update: Any  # within the window
    roots: Any  # [updates, ...]: written where `recording`, else read
    recording: Any


def adam_with_held_roots(num_updates):
    """The engine holds Adam's denominator constant for the outer gradient, by design.

    So must the differences: this Adam notes its denominators at the base point, and uses these
    afterwards instead of its own.
    """

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        roots = jax.tree.map(lambda x: jnp.zeros((num_updates, *x.shape)), params)
        zero = jnp.zeros((), jnp.int32)
        return HeldAdam(zero, zeros, zeros, zero, roots, jnp.array(True))

    def update(grads, state, params=None):
        del params
        count, k = state.count + 1, state.update
        mu = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state.mu, grads)
        nu = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, state.nu, grads)
        own = jax.tree.map(lambda v: jnp.sqrt(v / (1 - 0.999**count)) + 1e-8, nu)
        root = jax.tree.map(lambda o, r: jnp.where(state.recording, o, r[k]), own, state.roots)
        direction = jax.tree.map(lambda m, r: m / (1 - 0.9**count) / r, mu, root)
        roots = jax.tree.map(lambda rs, r: rs.at[k].set(r), state.roots, root)
        return direction, HeldAdam(count, mu, nu, k + 1, roots, state.recording)

    return optax.GradientTransformation(init, update)


class Tape(NamedTuple):
    """Stands in for an environment's state: the trajectories to come, and where we are."""

    position: Any
    trajectories: Trajectory  # leading axis: update


def play(key, env, env_params, policy, state, num_steps, beyond):
    """`rollout` with nothing left to chance or to eta."""
    del key, env, env_params, policy, num_steps, beyond
    tape = state.env_state
    trajectory = jax.tree.map(lambda x: x[tape.position], tape.trajectories)
    moved = state._replace(env_state=tape._replace(position=tape.position + 1))
    zero = jnp.zeros(())
    return moved, trajectory, EpisodeSummary(zero, zero, zero)


def trajectories(rng, shape, tabular):
    """Random trajectories [*shape, T, B]; the last action is never taken, some episodes end."""
    observation = (
        rng.integers(0, STATES, (*shape, T + 1, B)).astype(np.int32)
        if tabular
        else rng.normal(size=(*shape, T + 1, B, FEATURES))
    )
    drawn = Trajectory(
        observation=observation,
        action=rng.integers(0, ACTIONS - 1, (*shape, T, B)).astype(np.int32),
        reward=rng.normal(size=(*shape, T, B)),
        terminated=rng.random((*shape, T, B)) < 0.15,
        truncated=rng.random((*shape, T, B)) < 0.05,
        behaviour_log_prob=np.full((*shape, T, B), -np.log(ACTIONS)),
    )
    return drawn._replace(final_value=np.where(drawn.truncated & ~drawn.terminated, 0.7, 0.0))


def random_like(rng, tree, scale):
    return jax.tree.map(lambda x: x + scale * rng.normal(size=x.shape), tree)


def make_cohort(tabular, optimizer, rule):
    architecture = "table" if tabular else "D(7)"
    shape = dict(num_states=STATES, observation_shape=(FEATURES,))
    return Cohort(
        names=("planted",), env=MaskedActions(), base_params=None,
        agent=make_agent(architecture, rule.heads(ACTIONS), **shape),
        optimizer=optimizer,
        critic=make_agent(architecture, Heads(logits=0, value=1), **shape),
        critic_optimizer=optax.identity() if tabular else optax.adam(1e-2),
        learning_rates=np.ones(1), prediction_costs=np.ones(1), lifetime_windows=np.ones(1),
        random_return=np.zeros(1), best_return=np.ones(1),
        lifetimes_per_env=LIVES, first_index=0 if tabular else LIVES,
    )  # fmt: skip


def with_a_past(rng, opt_state):
    """The second lifetime has five Adam steps behind it, the first none."""
    if not hasattr(opt_state, "nu"):
        return opt_state

    def moment(low, high):
        def draw(x):
            return x.at[1].set(rng.uniform(low, high, x.shape[1:]))

        return draw

    return opt_state._replace(
        count=jnp.array([0, 5], jnp.int32),
        mu=jax.tree.map(moment(-0.1, 0.1), opt_state.mu),
        nu=jax.tree.map(moment(1e-6, 1e-5), opt_state.nu),
    )


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
            prediction_cost=jnp.array([0.5, 1.0]),
            gamma=jnp.array([0.9, 0.99]),
        ),
        policy_entropy_cost=jnp.array([0.01, 0.02]),
        age=jnp.zeros((LIVES,), jnp.int32),
        duration=jnp.ones((LIVES,), jnp.int32),
        scored=jnp.ones((LIVES,), bool),
        earns=jnp.ones((LIVES,), bool),
        reward_offset=None,
        agent=AgentState(params, with_a_past(rng, jax.vmap(cohort.optimizer.init)(params))),
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


def planted(num_updates, adam, rule=RULE):
    """The two cohorts, networks with the optimiser `adam`, and their lifetimes."""
    cohorts = (make_cohort(True, make_optimizer("sgd"), rule), make_cohort(False, adam, rule))
    lifetimes = tuple(make_lifetimes(c, num_updates, 11 + i) for i, c in enumerate(cohorts))
    return cohorts, lifetimes
