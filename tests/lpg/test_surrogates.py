"""The surrogate of an agent's policy term: its updates are the same, and what a meta-gradient sees
of them differs from the second update on."""

import itertools
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from online import body_of, hypers, newborn, trajectory

from lpg.agent import Body
from lpg.agents.table import TableAgent
from lpg.heads import action_log_prob
from lpg.learner import FrozenRule
from lpg.losses.kl_divergence import kl_divergence
from lpg.optimizers import SGD
from lpg.rule import off_policy_inputs, rule_inputs
from lpg.rules.lpg import LPG
from lpg.rules.lpg_eq7 import with_baseline
from lpg.rules.registry import rule_from_architecture
from lpg.rules.stac import STAC, mgrl
from lpg.rules.stacx import STACX
from lpg.self_tuning import SelfTuning
from lpg.trajectory import Trajectory
from lpg.update import AgentState, agent_step
from metatrain.cli import parse
from metatrain.config import CENTRED

NAMES = ("autodiff", "lvc", "loaded_dice")
SMALL = LPG(hidden_size=4, prediction_size=3, embedding_size=2, head_activation="none")
RULES = {
    "lpg": SMALL, "lpg_eq7": with_baseline(SMALL), "stac": STAC(start=0.8),
    "mgrl": mgrl(embedded=False), "stacx": STACX(start=0.8),
}  # fmt: skip


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def raw_eta(rule):
    """Flat rule parameters, of which any are good, and the way back."""
    if isinstance(rule, LPG):
        rng = np.random.default_rng(1)
        eta = jax.tree.map(
            lambda x: jnp.asarray(0.5 * rng.normal(size=x.shape)), rule.init(jax.random.key(0))
        )
        return ravel_pytree(eta)
    learner = SelfTuning(rule)
    flat, unravel = ravel_pytree(newborn(learner, SGD, jnp.float64).own.raw)
    return flat, lambda raw: learner.metaparameters(unravel(raw))


def learned(rule, num_updates):
    """Raw eta, and a function of it: theta after the updates, flat."""
    flat, eta_of = raw_eta(rule)
    learner = FrozenRule(rule, None) if isinstance(rule, LPG) else SelfTuning(rule)
    body = body_of(learner, "D(6)")
    agent = newborn(learner, SGD, jnp.float64).agent
    data = [trajectory(seed, jnp.float64) for seed in range(num_updates)]
    assert any(x.done[:-1].any() for x in data)

    def after(raw):
        state, eta, given = agent, eta_of(raw), hypers(0.3, dtype=jnp.float64)
        for each in data:
            outputs = body.outputs(state.params, each.observation)
            if not isinstance(rule, LPG):
                outputs = jax.lax.stop_gradient(outputs)
            targets = rule.targets(eta, off_policy_inputs(outputs, each, given.gamma))
            state = agent_step(rule, body, SGD, state, each, targets, given)
        return ravel_pytree(state.params)[0]

    return flat, after


def meta_gradient(rule, num_updates):
    """Of a function of theta that nothing vanishes in; and theta."""
    flat, after = learned(rule, num_updates)

    def outer(raw):
        theta = after(raw)
        return jnp.sum(jnp.sin(jnp.arange(len(theta)) + 1.0) * jnp.tanh(theta)), theta

    return jax.tree.map(np.asarray, jax.jit(jax.grad(outer, has_aux=True))(flat))


@pytest.mark.parametrize("name", RULES)
def test_updates_are_the_same_and_meta_gradients_part_at_the_second(name):
    names = (*NAMES, "score") if isinstance(RULES[name], LPG) else NAMES
    rules = [replace(RULES[name], surrogate=s) for s in names]
    for num_updates in (1, 2):
        found, moved = zip(*(meta_gradient(rule, num_updates) for rule in rules), strict=True)
        for other in moved[1:]:
            np.testing.assert_allclose(other, moved[0], rtol=1e-12, atol=1e-12)
        size = np.abs(found[0]).max()
        assert size > 1e-4
        gaps = [np.abs(a - b).max() / size for a, b in itertools.combinations(found, 2)]
        if num_updates == 1:
            assert max(gaps) < 1e-12
        else:
            assert min(gaps) > 1e-6


def test_autodiff_is_the_published_loss_to_the_bit():
    """Loss and its derivative in float32, compiled."""
    with jax.enable_x64(False):
        data = trajectory(3)
        body = body_of(FrozenRule(SMALL, None))
        outputs = body.outputs(newborn(FrozenRule(SMALL, None), SGD).agent.params, data.observation)
        eta = jax.tree.map(lambda x: x.astype(jnp.float32), raw_eta(SMALL)[1](raw_eta(SMALL)[0]))
        targets = SMALL.targets(eta, off_policy_inputs(outputs, data, hypers().gamma))

        def published(outputs):
            log_prob = action_log_prob(outputs.logits[:-1], data.action)
            kl = kl_divergence(outputs.prediction[:-1], targets.y_hat_logits)
            return jnp.mean(-log_prob * targets.pi_hat + hypers().prediction_cost * kl)

        def ours(outputs):
            return SMALL.loss(outputs, data, targets, hypers())

        a, b = (jax.jit(jax.value_and_grad(f))(outputs) for f in (published, ours))
    for mine, its in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_a_rule_file_does_not_know_the_surrogate():
    rule = replace(SMALL, surrogate="lvc")
    assert rule.architecture() == SMALL.architecture()
    assert rule_from_architecture(rule.architecture()) == SMALL


@pytest.mark.parametrize(
    ("rule", "name", "told"),
    [
        (LPG(), "dice", r"got 'dice' \(its weights are of rewards, and would replace the rule\)"),
        (STAC(), "dice", r"got 'dice' \(its weights are of rewards, and would replace the rule\)"),
        (LPG(), "LVC", "surrogate must be one of autodiff, lvc, loaded_dice, score, got 'LVC'"),
        (STAC(), "score", "surrogate must be one of autodiff, lvc, loaded_dice, got 'score'"),
    ],
)
def test_others_are_refused(rule, name, told):
    """Past the tests' own check of types, which a user does not have."""
    object.__setattr__(rule, "surrogate", name)
    with pytest.raises(ValueError, match=told):
        rule.__post_init__()


def test_metatrain_says_why_dice_is_none():
    with pytest.raises(ValueError, match="got 'dice' .its weights are of rewards"):
        parse(["--preset", "quick", "--rule.surrogate", "dice"])
    chosen = parse(["--preset", "quick", "--rule.surrogate=score"]).config.rule
    assert chosen == replace(CENTRED(hidden_size=32), surrogate="score")


def test_score_alone_has_the_derivative_of_the_expected_update():
    """Over all 8 trajectories of three steps of a deterministic MDP: an LPG's update of a table,
    predictions included, as theta moves both it and the odds of trajectories."""
    num_states, num_steps, rng = 3, 3, np.random.default_rng(0)
    following = rng.integers(0, num_states, (num_states, 2))
    paid = rng.normal(size=(num_states, 2))
    heads = SMALL.heads(2)
    body = Body(TableAgent(heads, num_states), jnp.ones(2, bool))
    theta = jnp.asarray(rng.normal(size=(num_states, heads.total)))
    flat, eta_of = raw_eta(SMALL)
    eta, given = eta_of(2.0 * flat), hypers(1.0, dtype=jnp.float64)

    def trajectory_of(actions):
        state = [0]
        for action in actions:
            state.append(following[state[-1], action])
        reward, ends = paid[state[:-1], list(actions)], np.zeros((num_steps, 1), bool)
        columns = (np.array(x)[:, None] for x in (state, actions, reward))
        return Trajectory(*columns, ends, ends, np.zeros((num_steps, 1)))

    each = [trajectory_of(x) for x in itertools.product(range(2), repeat=num_steps)]
    all_of_them = jax.tree.map(lambda *x: jnp.stack(x), *each)

    def expected(rule, follows, theta):
        def weighed(trajectory, theta):
            log_prob = jax.nn.log_softmax(theta[:, :2])[
                trajectory.observation[:-1], trajectory.action
            ]
            odds = jnp.exp(jnp.sum(log_prob))
            outputs = body.outputs(theta, trajectory.observation)
            targets = rule.targets(eta, rule_inputs(outputs, trajectory, given.gamma))
            state = AgentState(theta, SGD.init(theta))
            after = agent_step(rule, body, SGD, state, trajectory, targets, given)
            odds = odds if follows else jax.lax.stop_gradient(odds)
            return odds * (after.params - theta)

        # A theta of each one's own: tables are read so that gradients stay sparse, by agents alone.
        copies = jnp.broadcast_to(theta, (len(each), *theta.shape))
        return jnp.sum(jax.vmap(weighed)(all_of_them, copies), axis=0)

    def jacobian(surrogate, follows=False):
        rule = replace(SMALL, surrogate=surrogate)
        return np.asarray(jax.jit(jax.jacobian(partial(expected, rule, follows)))(theta))

    true = jacobian("autodiff", follows=True)
    gaps = {name: np.abs(jacobian(name) - true).max() for name in (*NAMES, "score")}
    assert np.abs(true).max() > 0.05
    assert gaps.pop("score") < 1e-14
    assert min(gaps.values()) > 0.02 * np.abs(true).max()


def test_meta_gradients_of_a_tuner_do_not_feel_it():
    """SelfTuning's go through one update alone."""
    found = []
    for surrogate in NAMES:
        learner = SelfTuning(replace(STAC(start=0.8), surrogate=surrogate), "same", optax.sgd(1.0))
        state = newborn(learner, SGD, jnp.float64)
        data = [trajectory(1, jnp.float64)]
        given = hypers(dtype=jnp.float64)
        after = learner.learn(body_of(learner), SGD, state, data, given)
        found.append(ravel_pytree(after.own.raw)[0] - ravel_pytree(state.own.raw)[0])
    assert np.abs(found[0]).max() > 1e-4
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-10, atol=1e-12)
