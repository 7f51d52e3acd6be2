"""Learners: one rule call for all lives, and harnesses that keep trajectories."""

import jax
import jax.extend as jex
import jax.numpy as jnp
import numpy as np
import pytest

from lpg.agent import Body
from lpg.agents.table import TableAgent
from lpg.learner import FrozenRule, Learner, targets_by_rows
from lpg.optimizers import SGD
from lpg.rule import Hypers, RuleInputs, rule_inputs
from lpg.rules.a2c import A2C
from lpg.rules.lpg import LPG
from lpg.trajectory import Trajectory
from lpg.update import AgentState, agent_step

LIVES, T, B, STATES, ACTIONS, M = 3, 5, 4, 6, 3, 5
RULE = LPG(hidden_size=8, prediction_size=M, embedding_size=4)
ETA = RULE.init(jax.random.key(0))


def trajectories(rng):
    """Of LIVES lives."""
    shape = (LIVES, T, B)
    return Trajectory(
        observation=jnp.asarray(rng.integers(0, STATES, (LIVES, T + 1, B)), jnp.int32),
        action=jnp.asarray(rng.integers(0, ACTIONS, shape), jnp.int32),
        reward=jnp.asarray(rng.normal(size=shape), jnp.float32),
        terminated=jnp.asarray(rng.random(shape) < 0.2),
        truncated=jnp.asarray(rng.random(shape) < 0.2),
        behaviour_log_prob=jnp.full(shape, -jnp.log(ACTIONS)),
    )


def hypers():
    each = jnp.arange(1.0, LIVES + 1)
    return Hypers(10 * each, 0.2 * each, 1 - 0.1 * each)


def body(rule=RULE):
    return Body(TableAgent(rule.heads(ACTIONS), STATES), jnp.ones((ACTIONS,), bool))


def born(learner, rule=RULE):
    tables = jnp.asarray(
        np.random.default_rng(1).normal(size=(LIVES, STATES, rule.heads(ACTIONS).total)),
        jnp.float32,
    )
    return jax.vmap(lambda table: learner.init(jax.random.key(0), AgentState(table, ())))(tables)


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    return RuleInputs(
        reward=jnp.asarray(rng.normal(size=(LIVES, T, B)), jnp.float32),
        not_done=jnp.asarray(rng.random((LIVES, T, B)) < 0.8, jnp.float32),
        gamma=jnp.asarray(rng.random((LIVES, B)), jnp.float32),
        action_prob=jnp.asarray(rng.random((LIVES, T, B)), jnp.float32),
        prediction=jnp.asarray(rng.normal(size=(LIVES, T + 1, B, M)), jnp.float32),
        value=jnp.zeros((LIVES, T + 1, B, 0)),
    )


def products(program, *arguments):
    """Shapes of the operands of all matrix products; each in a loop counts once."""
    found = []

    def walk(jaxpr):
        for eqn in jaxpr.eqns:
            if eqn.primitive.name == "dot_general":
                found.append([v.aval.shape for v in eqn.invars])
            for p in jax.tree.leaves(tuple(eqn.params.values())):
                if isinstance(p, jex.core.ClosedJaxpr | jex.core.Jaxpr):
                    walk(getattr(p, "jaxpr", p))

    walk(jax.make_jaxpr(program)(*arguments).jaxpr)
    return found


def test_lives_under_one_eta_are_one_call_on_all_rows():
    def together(x):
        return jax.vmap(lambda one: targets_by_rows(RULE, ETA, one))(x)

    def alone(x):
        return targets_by_rows(RULE, ETA, x)

    wide = products(together, inputs())
    narrow = products(alone, jax.tree.map(lambda x: x[0], inputs()))
    rows = {LIVES * B: B}
    assert [[tuple(rows.get(n, n) for n in x) for x in pair] for pair in wide] == narrow != wide
    got = jax.jit(together)(inputs())
    for i in range(LIVES):
        one = jax.jit(alone)(jax.tree.map(lambda x, i=i: x[i], inputs()))
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-6), got, one
        )


def test_an_input_that_all_lives_share_is_shared():
    x = inputs()
    shared = x._replace(gamma=x.gamma[0])
    axes = jax.tree.map(lambda _: 0, x)._replace(gamma=None)
    got = jax.jit(jax.vmap(lambda one: targets_by_rows(RULE, ETA, one), in_axes=(axes,)))(shared)
    same = x._replace(gamma=jnp.broadcast_to(x.gamma[0], x.gamma.shape))
    expected = jax.jit(jax.vmap(lambda one: targets_by_rows(RULE, ETA, one)))(same)
    np.testing.assert_array_equal(got.pi_hat, expected.pi_hat)


def test_lives_with_an_eta_of_their_own_are_called_by_it():
    etas = jax.vmap(RULE.init)(jax.random.split(jax.random.key(1), LIVES))
    got = jax.jit(jax.vmap(lambda eta, one: targets_by_rows(RULE, eta, one)))(etas, inputs())
    targets = jax.jit(RULE.targets)
    for i in range(LIVES):
        eta, one = jax.tree.map(lambda x, i=i: x[i], (etas, inputs()))
        expected = targets(eta, one)
        np.testing.assert_allclose(got.pi_hat[i], expected.pi_hat, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("rule", "eta"), [(RULE, ETA), (A2C(), ())])
def test_a_frozen_rule_takes_the_agents_step_towards_its_targets(rule, eta):
    learner = FrozenRule(rule, eta)
    assert isinstance(learner, Learner)
    state, made = born(learner, rule), trajectories(np.random.default_rng(2))

    def learn(state, trajectory, hypers):
        return learner.learn(body(rule), SGD, state, (trajectory,), hypers)

    @jax.jit
    def stepped(one, trajectory, own):
        outputs = body(rule).outputs(one.agent.params, trajectory.observation)
        targets = rule.targets(eta, rule_inputs(outputs, trajectory, own.gamma))
        return agent_step(rule, body(rule), SGD, one.agent, trajectory, targets, own)

    after = jax.jit(jax.vmap(learn))(state, made, hypers())
    for i in range(LIVES):
        one, trajectory, own = jax.tree.map(lambda x, i=i: x[i], (state, made, hypers()))
        expected = stepped(one, trajectory, own)
        got = after.agent.params[i]
        np.testing.assert_allclose(got, expected.params, rtol=1e-4, atol=1e-5)
        assert np.abs(np.asarray(got - one.agent.params)).max() > 1e-2
    assert learner.trace(after) == {}
