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
            kl_cost=jnp.array([0.5, 1.0]),
            gamma=jnp.array([0.9, 0.99]),
        ),
        policy_entropy_cost=jnp.array([0.01, 0.02]),
        age=jnp.zeros((LIVES,), jnp.int32),
        duration=jnp.ones((LIVES,), jnp.int32),
        scored=jnp.ones((LIVES,), bool),
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


class Window(NamedTuple):
    """Values and gradients at the base point; the first two lifetimes are tables."""

    total: Any
    losses: Any  # [2 LIVES]
    gradient: Any  # of the total [n]
    loss_gradients: Any  # [2 LIVES, n]
    return_gradients: Any  # [2 LIVES, n], of the policy-gradient term alone


def planted(num_updates, adam):
    cohorts = (make_cohort(True, make_optimizer("sgd")), make_cohort(False, adam))
    lifetimes = tuple(make_lifetimes(c, num_updates, 11 + i) for i, c in enumerate(cohorts))
    return cohorts, lifetimes


@cache
def differentiated(num_updates, rule=RULE, remat=True):
    cohorts, lifetimes = planted(num_updates, make_optimizer("adam"))
    config = replace(CONFIG, num_updates=num_updates, remat=remat)

    def stacked(eta):
        total, losses, returns, _ = lifetime_losses(rule, config, cohorts, eta, lifetimes)
        values = jnp.concatenate([total[None], losses, returns])
        return values, values

    eta = eta_and_unravel(rule)[0]
    jacobian, values = jax.device_get(jax.jit(jax.jacrev(stacked, has_aux=True))(eta))
    ends = [1, 1 + 2 * LIVES]
    return Window(values[0], values[1 : ends[1]], jacobian[0], *np.split(jacobian[1:], 2))


def differenced(num_updates, directions, step):
    """Total and losses [1 + 2 LIVES] at the base point, and their central differences."""
    cohorts, lifetimes = planted(num_updates, adam_with_held_roots(num_updates))
    config = replace(CONFIG, num_updates=num_updates)
    eta = eta_and_unravel()[0]

    @jax.jit
    def run(eta, lifetimes):
        total, losses, _, after = lifetime_losses(RULE, config, cohorts, eta, lifetimes)
        return jnp.concatenate([total[None], losses]), after[1].agent.opt_state.roots

    base, roots = run(eta, lifetimes)
    agent = lifetimes[1].agent
    held = agent.opt_state._replace(roots=roots, recording=jnp.zeros((LIVES,), bool))
    lifetimes = (lifetimes[0], lifetimes[1]._replace(agent=agent._replace(opt_state=held)))
    np.testing.assert_allclose(run(eta, lifetimes)[0], base, rtol=1e-12)
    slopes = [
        (run(eta + step * d, lifetimes)[0] - run(eta - step * d, lifetimes)[0]) / (2 * step)
        for d in directions
    ]
    return np.asarray(base), np.stack(slopes)


@pytest.mark.parametrize("num_updates", [1, 2, 3, 5])
def test_matches_central_differences(num_updates):
    window = differentiated(num_updates)
    rng = np.random.default_rng(num_updates)
    random = rng.normal(size=(3, window.gradient.size))
    directions = np.stack([window.gradient, *random])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    base, slopes = differenced(num_updates, directions, step=3e-6)
    # Another program, by an Adam written anew, has the same values.
    np.testing.assert_allclose(base, [window.total, *window.losses], rtol=1e-9)
    np.testing.assert_allclose(window.total, window.losses.mean(), rtol=1e-12)
    gradients = np.stack([window.gradient, *window.loss_gradients])
    expected = directions @ gradients.T
    print(
        np.linalg.norm(gradients, axis=1),
        np.abs(expected).min(0),
        (np.abs(slopes - expected) / np.abs(expected)).max(0),
    )
    assert (np.linalg.norm(gradients, axis=1) > 1e-3).all(), "flat: nothing would be tested"
    np.testing.assert_allclose(slopes, expected, rtol=1e-6)


def y_hat_norms(jacobian):
    """Norm of the part of each row that belongs to the y_hat head."""
    unravel = eta_and_unravel()[1]
    return np.array([optax.global_norm(unravel(jnp.asarray(row))["y_hat"]) for row in jacobian])


def test_y_hat_head_learns_from_the_return_from_the_second_update_on():
    """y must have changed before a later call of the rule can profit from it (tables).

    A network's shared torso lets the prediction's loss move the policy at once.
    """
    tables, networks = np.split(y_hat_norms(differentiated(1).return_gradients), 2)
    np.testing.assert_array_equal(tables, 0.0)
    assert (networks > 1e-6).all()
    for num_updates in (2, 3, 5):
        assert (y_hat_norms(differentiated(num_updates).return_gradients) > 1e-6).all()


def test_cutting_the_y_inputs_would_silence_the_y_hat_head():
    rule = CutPredictions(8, 5, 4)
    cut = differentiated(3, rule)
    np.testing.assert_allclose(cut.losses, differentiated(3).losses, rtol=1e-12)
    np.testing.assert_array_equal(y_hat_norms(cut.return_gradients)[:LIVES], 0.0)
    # It is the y_hat head alone that goes silent.
    assert (np.linalg.norm(cut.return_gradients, axis=1) > 1e-3).all()


def test_remat_changes_nothing():
    without, with_remat = differentiated(2, remat=False), differentiated(2)
    np.testing.assert_allclose(without.losses, with_remat.losses, rtol=1e-12)
    np.testing.assert_allclose(
        without.loss_gradients, with_remat.loss_gradients, rtol=1e-9, atol=1e-13
    )
