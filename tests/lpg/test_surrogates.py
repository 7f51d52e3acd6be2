"""The surrogate of an agent's policy term: its updates are the same, and what a meta-gradient sees
of them differs from the second update on."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from online import body_of, hypers, newborn, trajectory

from lpg.heads import action_log_prob
from lpg.learner import FrozenRule
from lpg.losses.kl_divergence import kl_divergence
from lpg.optimizers import SGD
from lpg.rule import off_policy_inputs
from lpg.rules.lpg import LPG
from lpg.rules.lpg_eq7 import with_baseline
from lpg.rules.registry import rule_from_architecture
from lpg.rules.stac import STAC, mgrl
from lpg.rules.stacx import STACX
from lpg.self_tuning import SelfTuning
from lpg.update import agent_step

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
    rules = [replace(RULES[name], surrogate=s) for s in NAMES]
    for num_updates in (1, 2):
        found, moved = zip(*(meta_gradient(rule, num_updates) for rule in rules), strict=True)
        for other in moved[1:]:
            np.testing.assert_allclose(other, moved[0], rtol=1e-12, atol=1e-12)
        plain, lvc, loaded = found
        size = np.abs(plain).max()
        assert size > 1e-4
        gaps = [
            np.abs(a - b).max() / size for a, b in ((plain, lvc), (plain, loaded), (lvc, loaded))
        ]
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
    ("name", "told"),
    [
        ("dice", r"got 'dice' \(its weights are of rewards, and would replace the rule\)"),
        ("LVC", "surrogate must be one of autodiff, lvc, loaded_dice, got 'LVC'"),
    ],
)
def test_others_are_refused(name, told):
    """Past the tests' own check of types, which a user does not have."""
    for rule in (LPG(), STAC()):
        object.__setattr__(rule, "surrogate", name)
        with pytest.raises(ValueError, match=told):
            rule.__post_init__()


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
