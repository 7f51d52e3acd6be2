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
from planted_window import (
    LIVES,
    RULE,
    B,
    T,
    adam_with_held_roots,
    planted,
    play,
    random_like,
)
from tiny import unbounded

from lpg.agent import Body
from lpg.optimizers import make_optimizer
from lpg.rule import RuleInputs, rule_inputs
from lpg.rules.lpg import LPG
from lpg.rules.lpg_v import LPGV
from lpg.update import agent_step
from metatrain import inner_update
from metatrain import window as window_module
from metatrain.config import MetaTrainConfig
from metatrain.outer_objective import Costs, critic_step, outer_advantage, outer_loss
from metatrain.window import window_loss

VALUE_RULE = LPGV(hidden_size=8)
# Rows without evidence are data, which differences would see change (tests/.../test_evidence.py).
CONFIG = MetaTrainConfig(
    envs=("sparse", "dense"), lifetimes=2 * LIVES, num_envs=B, num_steps=T,
    prediction_entropy_cost=1e-3, pi_hat_cost=1e-3, y_hat_cost=1e-3, unearned_cost=0.0,
)  # fmt: skip


@dataclass(frozen=True)
class CutPredictions(LPG):
    """LPG that stops the gradient at its y inputs: the mistake that must be noticed."""

    def targets(self, rule_params, inputs):
        cut = inputs._replace(prediction=jax.lax.stop_gradient(inputs.prediction))
        return super().targets(rule_params, cut)


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    monkeypatch.setattr(window_module, "rollout", play)
    with jax.enable_x64(True):
        yield


def eta_and_unravel(rule=RULE):
    eta = random_like(np.random.default_rng(1), rule.init(jax.random.key(0)), 0.3)
    return ravel_pytree(jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), eta))


def lifetime_losses(rule, config, cohorts, eta, lifetimes):
    """Of one window: total, and each lifetime's loss and policy-gradient term [2 LIVES]."""
    keys = tuple(jax.random.split(jax.random.key(9), LIVES) for _ in cohorts)
    total, (after, reports) = window_loss(
        rule, config, cohorts, eta_and_unravel(rule)[1](eta), lifetimes, keys,
        unbounded(config, keys),
    )  # fmt: skip
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


@cache
def differentiated(num_updates, rule=RULE, remat=True, unearned_cost=0.0):
    cohorts, lifetimes = planted(num_updates, make_optimizer("adam"), rule)
    config = replace(
        CONFIG, num_updates=num_updates, remat=remat, unearned_cost=unearned_cost, unearned_rows=2
    )

    def stacked(eta):
        total, losses, returns, _ = lifetime_losses(rule, config, cohorts, eta, lifetimes)
        values = jnp.concatenate([total[None], losses, returns])
        return values, values

    eta = eta_and_unravel(rule)[0]
    jacobian, values = jax.device_get(jax.jit(jax.jacrev(stacked, has_aux=True))(eta))
    ends = [1, 1 + 2 * LIVES]
    return Window(values[0], values[1 : ends[1]], jacobian[0], *np.split(jacobian[1:], 2))


def differenced(num_updates, directions, step, rule):
    """Total and losses [1 + 2 LIVES] at the base point, and their central differences."""
    cohorts, lifetimes = planted(num_updates, adam_with_held_roots(num_updates), rule)
    config = replace(CONFIG, num_updates=num_updates)
    eta = eta_and_unravel(rule)[0]

    @jax.jit
    def run(eta, lifetimes):
        total, losses, _, after = lifetime_losses(rule, config, cohorts, eta, lifetimes)
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


@pytest.mark.parametrize(
    ("rule", "num_updates"),
    [
        pytest.param(RULE, 1, marks=pytest.mark.slow),
        (RULE, 2),
        pytest.param(RULE, 5, marks=pytest.mark.slow),
        pytest.param(VALUE_RULE, 1, marks=pytest.mark.slow),
        (VALUE_RULE, 2),
    ],
    ids=lambda x: x if isinstance(x, int) else x.kind,
)
def test_matches_central_differences(rule, num_updates):
    window = differentiated(num_updates, rule)
    rng = np.random.default_rng(num_updates)
    random = rng.normal(size=(3, window.gradient.size))
    directions = np.stack([window.gradient, *random])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    base, slopes = differenced(num_updates, directions, 3e-6, rule)
    # Another program, by an Adam written anew, has the same values.
    np.testing.assert_allclose(base, [window.total, *window.losses], rtol=1e-9)
    np.testing.assert_allclose(window.total, window.losses.mean(), rtol=1e-12)
    gradients = np.stack([window.gradient, *window.loss_gradients])
    expected = directions @ gradients.T
    assert (np.linalg.norm(gradients, axis=1) > 1e-3).all(), "flat: nothing would be tested"
    np.testing.assert_allclose(slopes, expected, rtol=1e-6)


def loss_alone(cohort, lifetime, eta, num_updates):
    """One lifetime's window written out in the order of time, without scan, vmap or remat."""
    body, hypers = Body(cohort.agent, lifetime.env_params), lifetime.hypers
    agent, critic = lifetime.agent, lifetime.critic
    trajectory, squares = lifetime.trajectory, []
    for k in range(num_updates):
        outputs = body.outputs(agent.params, trajectory.observation)
        inputs = rule_inputs(outputs, trajectory, hypers.gamma)
        targets = RULE.targets(eta, inputs)
        blank = RuleInputs(
            reward=jnp.zeros((T, 2)), not_done=inputs.not_done[:, :2], gamma=inputs.gamma[:2],
            action_prob=inputs.action_prob[:, :2], prediction=jnp.zeros((T + 1, 2, 5)),
            value=jnp.zeros((T + 1, 2, 0)),
        )  # fmt: skip
        unearned = RULE.targets(eta, blank).pi_hat
        agent = agent_step(RULE, body, cohort.optimizer, agent, trajectory, targets, hypers)
        critic = critic_step(
            cohort.critic, cohort.critic_optimizer, critic, trajectory, hypers.gamma, 0.95, 0.3
        )
        y_hat_square = jnp.mean(jnp.sum(targets.y_hat**2, axis=-1))
        squares.append((jnp.mean(targets.pi_hat**2), y_hat_square, jnp.mean(unearned**2)))
        trajectory = jax.tree.map(lambda x, k=k: x[k], lifetime.rollout.env_state.trajectories)
    outputs = body.outputs(agent.params, trajectory.observation)
    advantage = outer_advantage(cohort.critic, critic.params, trajectory, hypers.gamma, 0.95)
    # The running moments are this batch's own where there has been none before.
    advantage = (advantage - jnp.mean(advantage)) / (jnp.std(advantage) + 1e-6)
    names = ("pi_hat", "y_hat", "unearned")
    means = (sum(each) / num_updates for each in zip(*squares, strict=True))
    means = dict(zip(names, means, strict=True))
    costs = dict(zip(names, (1e-3, 1e-3, 0.03), strict=True))
    costs = Costs(lifetime.policy_entropy_cost, 1e-3, costs)
    return outer_loss(outputs, trajectory, advantage, means, costs).total


@pytest.mark.slow
def test_window_equals_lifetimes_one_by_one():
    cohorts, lifetimes = planted(2, make_optimizer("adam"))
    eta, unravel = eta_and_unravel()
    alone = []
    for cohort, cohort_lifetimes in zip(cohorts, lifetimes, strict=True):
        loss = jax.jit(lambda life, eta, c=cohort: loss_alone(c, life, eta, 2))
        for i in range(LIVES):
            alone.append(loss(jax.tree.map(lambda x, i=i: x[i], cohort_lifetimes), unravel(eta)))
    together = differentiated(2, unearned_cost=0.03)
    np.testing.assert_allclose(together.losses, alone, rtol=1e-9)


def y_hat_norms(jacobian):
    """Norm of the part of each row that belongs to the y_hat head."""
    unravel = eta_and_unravel()[1]
    return np.array([optax.global_norm(unravel(jnp.asarray(row))["y_hat"]) for row in jacobian])


@pytest.mark.slow
def test_y_hat_head_learns_from_the_return_from_the_second_update_on():
    """y must have changed before a later call of the rule can profit from it (tables).

    A network's shared torso lets the prediction's loss move the policy at once.
    """
    tables, networks = np.split(y_hat_norms(differentiated(1).return_gradients), 2)
    np.testing.assert_array_equal(tables, 0.0)
    assert (networks > 1e-6).all()
    for num_updates in (2, 5):
        assert (y_hat_norms(differentiated(num_updates).return_gradients) > 1e-6).all()


@pytest.mark.slow
def test_cutting_the_y_inputs_would_silence_the_y_hat_head():
    rule = CutPredictions(8, 5, 4)
    cut = differentiated(2, rule)
    np.testing.assert_allclose(cut.losses, differentiated(2).losses, rtol=1e-12)
    np.testing.assert_array_equal(y_hat_norms(cut.return_gradients)[:LIVES], 0.0)
    # It is the y_hat head alone that goes silent.
    assert (np.linalg.norm(cut.return_gradients, axis=1) > 1e-3).all()


@pytest.mark.slow
def test_value_inputs_carry_gradient_from_the_second_update_on():
    """A table's pi_hat reaches its V through nothing but data; its V reaches the next pi_hat.

    lambda moves V alone, so that the loss depends on it only where the rule reads the moved V:
    after one update never, later always.
    """
    for num_updates, moved in ((1, False), (2, True)):
        cut = differentiated(num_updates, replace(VALUE_RULE, lam=0.5)).losses[:LIVES]
        assert (
            np.abs(cut - differentiated(num_updates, VALUE_RULE).losses[:LIVES]) > 1e-9
        ).tolist() == [moved] * LIVES


def test_remat_changes_nothing():
    without, with_remat = differentiated(2, remat=False), differentiated(2)
    np.testing.assert_allclose(without.losses, with_remat.losses, rtol=1e-12)
    np.testing.assert_allclose(
        without.loss_gradients, with_remat.loss_gradients, rtol=1e-9, atol=1e-13
    )


def backward_program(num_updates=2):
    """The text of the whole meta-gradient where updates are recomputed."""
    cohorts, lifetimes = planted(num_updates, make_optimizer("adam"), RULE)
    config = replace(CONFIG, num_updates=num_updates, remat=True)

    def total(eta):
        return lifetime_losses(RULE, config, cohorts, eta, lifetimes)[0]

    return lifetimes, str(jax.make_jaxpr(jax.grad(total))(eta_and_unravel(RULE)[0]))


def test_a_backward_pass_holds_no_table_of_each_update_and_makes_no_gradient_again(monkeypatch):
    """But a network's weights, and what an optimiser is given. Nor is there a table of zeros, to be
    added to the gradient of what is gone on with."""
    (tables, networks), program = backward_program()
    (layer, *_) = jax.tree.leaves(networks.agent.params)
    shapes = [",".join(map(str, x.shape)) for x in (tables.agent.params, layer)]
    assert [f"f64[2,{shape}]" in program for shape in shapes] == [False, True]
    assert [f"f64[{shape}] = add_any" in program for shape in shapes] == [False, True]
    monkeypatch.setattr(inner_update, "GRADIENT", "another")
    _, another = backward_program()
    assert program.count("dot_general[") < another.count("dot_general[")
