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
from some_slow import some_slow

from lpg.agent import Body
from lpg.agents.table import TableAgent
from lpg.heads import AgentOutputs, action_log_prob
from lpg.learner import FrozenRule
from lpg.losses.estimators import policy_weight, update_weight
from lpg.losses.kl_divergence import kl_divergence
from lpg.optimizers import SGD
from lpg.rule import off_policy_inputs, rule_inputs
from lpg.rules import lpg, lpg_eq7, stac
from lpg.rules.lpg import LPG, LPGTargets
from lpg.rules.lpg_eq7 import with_baseline
from lpg.rules.registry import rule_from_architecture
from lpg.rules.stac import STAC, ActorCriticTargets, mgrl
from lpg.rules.stacx import STACX
from lpg.self_tuning import SelfTuning
from lpg.trajectory import Trajectory
from lpg.update import AgentState, agent_step
from metatrain.cli import parse
from metatrain.config import CENTRED

NAMES = ("autodiff", "lvc", "loaded_dice")
SMALL = LPG(hidden_size=4, prediction_size=3, embedding_size=2, head_activation="none")
RULES = {
    "lpg": SMALL, "lpg_eq7": with_baseline(SMALL),
    "mgrl": mgrl(embedded=False), "stacx": STACX(start=0.8),  # a STAC both
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


def turned(rule, monkeypatch):
    """What theta_1 and theta_2 become by each surrogate, and the derivatives of a fixed sum of
    either by raw eta: one program, whose weights are data."""
    names = (*NAMES, "score") if isinstance(rule, LPG) else NAMES
    flat, eta_of = raw_eta(rule)
    learner = FrozenRule(rule, None) if isinstance(rule, LPG) else SelfTuning(rule)
    body = body_of(learner, "D(6)")
    agent = newborn(learner, SGD, jnp.float64).agent
    data = [trajectory(seed, jnp.float64) for seed in range(2)]
    assert any(x.done[:-1].any() for x in data)

    def after(raw):
        state, eta, given, thetas = agent, eta_of(raw), hypers(0.3, dtype=jnp.float64), []
        for each in data:
            outputs = body.outputs(state.params, each.observation)
            if not isinstance(rule, LPG):
                outputs = jax.lax.stop_gradient(outputs)
            targets = rule.targets(eta, off_policy_inputs(outputs, each, given.gamma))
            state = agent_step(rule, body, SGD, state, each, targets, given)
            thetas.append(ravel_pytree(state.params)[0])
        return jnp.stack(thetas)

    def derivatives(surrogate):
        def weight(_, log_prob, done):
            return jnp.stack([policy_weight(x, log_prob, done) for x in names])[surrogate]

        def whole(_, action_prob):
            return jnp.where(surrogate == 3, update_weight("score", action_prob), 1.0)

        monkeypatch.setattr(lpg, "update_weight", whole)
        for module in (lpg, lpg_eq7, stac):
            monkeypatch.setattr(module, "policy_weight", weight)
        thetas, pullback = jax.vjp(after, flat)
        weights = jnp.sin(jnp.arange(thetas.shape[1]) + 1.0)
        return thetas, jax.vmap(lambda x: pullback(jnp.outer(x, weights))[0])(jnp.eye(2))

    found = jax.jit(jax.vmap(derivatives))(jnp.arange(len(names)))
    return jax.tree.map(np.asarray, found)


@pytest.mark.parametrize("name", some_slow(RULES, ("lpg", "stacx")))
def test_updates_are_the_same_and_their_derivatives_part_at_the_second(name, monkeypatch):
    thetas, slopes = turned(RULES[name], monkeypatch)
    sizes = np.abs(slopes).max(axis=(0, 2))
    assert sizes.min() > 1e-4
    for theta, (first, _) in zip(thetas[1:], slopes[1:], strict=True):
        np.testing.assert_allclose(theta, thetas[0], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(first, slopes[0, 0], atol=1e-12 * sizes[0])
    gaps = [np.abs(x - y).max() for x, y in itertools.combinations(slopes[:, 1], 2)]
    assert min(gaps) > 1e-6 * sizes[1]


def draw(*shape):
    return jnp.asarray(np.random.default_rng(len(shape)).normal(size=shape))


T, B, A = 4, 3, 3
BOTH = AgentOutputs(draw(T + 1, B, A), draw(T + 1, B, 3), draw(T + 1, B, 1))
TARGETS = LPGTargets(draw(T, B), draw(T, B, 3))
CRITIC = ActorCriticTargets(*(draw(T, B) for _ in ActorCriticTargets._fields))
LOSSES = {
    "lpg": (BOTH._replace(value=draw(T + 1, B, 0)), TARGETS),
    "lpg_eq7": (BOTH, TARGETS),
    "mgrl": (BOTH._replace(prediction=draw(T + 1, B, 0)), CRITIC),
    "stacx": (3 * (BOTH._replace(prediction=draw(T + 1, B, 0)),), 3 * (CRITIC,)),
}


@pytest.mark.parametrize("name", RULES)
def test_losses_have_one_gradient_and_several_curvatures(name):
    outputs, targets = LOSSES[name]
    data = trajectory(1, jnp.float64)
    assert data.done[:-1].any()

    def curved(surrogate):
        """Gradient in the logits, and how it turns with them."""
        rule = replace(RULES[name], surrogate=surrogate)

        def loss(shift):
            moved = [x._replace(logits=x.logits + shift) for x in outputs] if (
                name == "stacx"
            ) else [outputs._replace(logits=outputs.logits + shift)]  # fmt: skip
            joint = moved[0]._replace(auxiliary=tuple(moved[1:]))
            return rule.loss(joint, data, targets, hypers(dtype=jnp.float64))

        shift = jnp.zeros((T + 1, B, A))
        return jax.jit(lambda x: jax.jvp(jax.grad(loss), (x,), (draw(T + 1, B, A),)))(shift)

    (slope, turn), *others = map(curved, NAMES)
    assert np.abs(slope).max() > 1e-2
    for other, _ in others:
        np.testing.assert_allclose(other, slope, rtol=1e-12, atol=1e-12)
    turns = [turn, *(x for _, x in others)]
    assert min(np.abs(x - y).max() for x, y in itertools.combinations(turns, 2)) > 1e-3


def test_autodiff_is_the_published_loss_to_the_bit():
    """Loss and its derivative in float32, compiled."""
    with jax.enable_x64(False):
        given = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), LOSSES["lpg"])
        outputs, targets, data = *given, trajectory(3)

        def published(outputs):
            log_prob = action_log_prob(outputs.logits[:-1], data.action)
            kl = kl_divergence(outputs.prediction[:-1], targets.y_hat_logits)
            return jnp.mean(-log_prob * targets.pi_hat + hypers().prediction_cost * kl)

        def ours(outputs):
            return SMALL.loss(outputs, data, targets, hypers())

        a, b = (jax.jit(jax.value_and_grad(f))(outputs) for f in (published, ours))
    for mine, its in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(mine, its)
    assert np.abs(a[1].logits).max() > 1e-2


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_meta_gradients_of_a_tuner_do_not_feel_it():
    """SelfTuning's go through one update alone."""
    found = []
    for surrogate in ("autodiff", "loaded_dice"):
        learner = SelfTuning(replace(STAC(start=0.8), surrogate=surrogate), "same", optax.sgd(1.0))
        state = newborn(learner, SGD, jnp.float64)
        data = [trajectory(1, jnp.float64)]
        given = hypers(dtype=jnp.float64)
        after = learner.learn(body_of(learner), SGD, state, data, given)
        found.append(ravel_pytree(after.own.raw)[0] - ravel_pytree(state.own.raw)[0])
    assert np.abs(found[0]).max() > 1e-4
    np.testing.assert_allclose(found[1], found[0], rtol=1e-10, atol=1e-12)
