"""MGRL through several updates: its meta-gradient beside central differences, what its windows
leave, and the plain A2C that it is without metaparameters."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from online import B, T, body_of, hypers, newborn, trajectory

from lpg.heads import action_log_prob
from lpg.learner import FrozenRule, Learner, ahead
from lpg.lookahead import Lookahead
from lpg.optimizers import falling_adam, scale_by_adam_whole
from lpg.rule import off_policy_inputs
from lpg.rules.tuned_a2c import A2CMetaparameters, TunedA2C

PLAIN = optax.sgd(1.0)
RATE, LENGTH = 0.05, 9


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def lookahead(surrogate="autodiff", **more):
    return Lookahead(TunedA2C(surrogate=surrogate), meta_optimizer=PLAIN, **more)


def life(learner):
    optimizer = falling_adam(LENGTH)
    data = [trajectory(i, jnp.float64) for i in range(learner.num_trajectories)]
    return optimizer, newborn(learner, optimizer, jnp.float64), data, hypers(RATE, jnp.float64)


def learned(learner):
    """eta's gradient, and the state after a window."""
    optimizer, state, data, given = life(learner)

    @jax.jit
    def learn(state, data, given):
        return learner.learn(body_of(learner), optimizer, state, data, given)

    after = learn(state, data, given)
    return jax.tree.map(lambda a, b: a - b, state.own.raw, after.own.raw), after


def returns_of(each, value, eta):
    following, returns = value[-1], []
    for t in reversed(range(T)):
        mixed = (1 - eta.lam) * value[t + 1] + eta.lam * following
        following = each.reward[t] + (1.0 - each.done[t]) * eta.gamma * mixed
        returns.append(following)
    return jnp.stack(returns[::-1])


def by_hand(learner, raw, held=None):
    """The outer loss at theta_K, theta_K, and what an automatic meta-gradient takes for constants:
    what the critic is told, values, the clip's factors and the outer advantage. These are `held`
    where they are given."""
    _, state, data, given = life(learner)
    eta, params = learner.metaparameters(raw), state.agent.params
    adam = optax.scale_by_adam()
    opt_state, seen = adam.init(params), {"told": eta.gamma, "value": [], "factor": []}
    told = seen["told"] if held is None else held["told"]
    body = body_of(learner)
    inner, outer = (body._replace(condition=jnp.array([x])) for x in (told, 0.99))
    for k, each in enumerate(data[:-1]):
        seen["value"].append(inner.outputs(params, each.observation).value[..., 0])
        value = (held or seen)["value"][k]
        target = returns_of(each, value, eta)

        def loss(params, each=each, value=value, target=target):
            outputs = inner.outputs(params, each.observation)
            policy = jax.nn.log_softmax(outputs.logits[:-1])
            strength = (target - value[:-1]) * action_log_prob(outputs.logits[:-1], each.action)
            error = eta.value_cost * (target - outputs.value[:-1, :, 0]) ** 2
            entropy = -jnp.sum(jnp.exp(policy) * policy, axis=-1)
            return jnp.sum(-strength + error - eta.entropy_cost * entropy) / (T * B)

        grads = jax.grad(loss)(params)
        seen["factor"].append(jnp.minimum(1.0, 0.5 / optax.tree.norm(grads)))
        factor = (held or seen)["factor"][k]
        clipped = jax.tree.map(lambda g, f=factor: g * f, grads)
        direction, opt_state = adam.update(clipped, opt_state)
        rate = given.learning_rate * (1 - k / LENGTH)
        params = jax.tree.map(lambda p, d, r=rate: p - r * d, params, direction)
    outputs = outer.outputs(params, data[-1].observation)
    value = outputs.value[..., 0]
    target = returns_of(data[-1], value, A2CMetaparameters())
    seen["advantage"] = target - value[:-1]
    log_prob = action_log_prob(outputs.logits[:-1], data[-1].action)
    return -jnp.mean((held or seen)["advantage"] * log_prob), (params, seen)


def test_the_meta_gradient_is_that_of_central_differences_by_hand():
    learner = lookahead(window="keep")
    assert isinstance(learner, Learner)
    got, after = learned(learner)
    raw = life(learner)[1].own.raw
    at = jax.jit(lambda raw, held: by_hand(learner, raw, held))
    _, (params, held) = at(raw, None)
    assert min(held["factor"]) < 1.0
    for mine, its in zip(*map(jax.tree.leaves, (after.agent.params, params)), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-7, atol=1e-9)  # optax's schedule is float32
    for name in A2CMetaparameters._fields:
        up, down = (at({**raw, name: raw[name] + x}, held)[0] for x in (1e-4, -1e-4))
        slope = float(up - down) / 2e-4
        assert abs(slope) > 1e-6, name
        np.testing.assert_allclose(got[name], slope, rtol=1e-5, err_msg=name)


@pytest.mark.slow
def test_lvc_is_felt_from_the_second_update_on():
    for num_updates in (1, 2):
        plain, lvc = (
            learned(lookahead(name, num_updates=num_updates))[0] for name in ("autodiff", "lvc")
        )
        gaps = [abs(float(plain[k] - lvc[k])) / abs(float(plain[k])) for k in plain]
        # Adam's first step hardly knows how long a gradient is, so that little comes through it.
        assert max(gaps) < 1e-12 if num_updates == 1 else min(gaps) > 1e-7


@pytest.mark.slow
def test_windows_leave_the_first_update_or_all():
    """Parameters and moments; and rollouts are made by what `ahead` says."""
    discard, keep = (lookahead(window=x) for x in ("discard", "keep"))
    optimizer, state, data, given = life(discard)
    body, on = body_of(discard), state
    chain = []
    for each in data[:-1]:
        on = ahead(discard, body, optimizer, on, each, given)
        chain.append(on.agent)
    for learner, expected in ((discard, chain[0]), (keep, chain[2])):
        _, after = learned(learner)
        for mine, its in zip(*map(jax.tree.leaves, (after.agent, expected)), strict=True):
            np.testing.assert_allclose(mine, its, rtol=1e-12, atol=1e-14)
    moved = (np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, chain[::2]), strict=True))
    assert max(moved) > 1e-3
    assert ahead(discard, body, optimizer, state, None, given) is state
    frozen = FrozenRule(TunedA2C(live=()), A2CMetaparameters())
    assert ahead(frozen, body, optimizer, state, data[0], given) is state
    sizes = {x: (lookahead(window=x).fresh, lookahead(window=x).real_updates) for x in WINDOWS}
    assert sizes == {"discard": (4, 1), "keep": (4, 3), "reuse": (3, 3)}


WINDOWS = ("discard", "keep", "reuse")


def test_nothing_live_is_plain_a2c():
    """One step of the frozen rule is by_hand's first; its critic is told nothing."""
    rule = TunedA2C(live=(), surrogate="autodiff")
    learner = FrozenRule(rule, rule.init(jax.random.key(0)))
    assert learner.heads(3).condition == 0
    optimizer = falling_adam(LENGTH)
    state, data = newborn(learner, optimizer, jnp.float64), trajectory(0, jnp.float64)
    given, body = hypers(RATE, jnp.float64), body_of(learner)
    after = learner.learn(body, optimizer, state, [data], given)
    outputs = body.outputs(state.agent.params, data.observation)
    value = outputs.value[..., 0]
    target = returns_of(data, value, A2CMetaparameters())
    found = rule.targets(A2CMetaparameters(), off_policy_inputs(outputs, data, given.gamma))
    np.testing.assert_allclose(found.value_target, target, rtol=1e-12)
    np.testing.assert_allclose(found.advantage, target - value[:-1], rtol=1e-9)
    moved = [np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (state.agent.params, after.agent.params)), strict=True)]  # fmt: skip  # noqa: E501
    assert min(moved) == pytest.approx(RATE, rel=1e-3)  # Adam's first step


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"window": "drop"}, "window must be one of discard, keep, reuse, got 'drop'"),
        ({"num_updates": 0}, "num_updates must be at least 1, got 0"),
    ],
)
def test_bad_options_are_refused(options, told):
    learner = lookahead()
    for name, value in options.items():
        object.__setattr__(learner, name, value)
    with pytest.raises(ValueError, match=told):
        learner.__post_init__()


def test_the_whole_adam_is_optaxs_and_has_a_derivative_at_nothing():
    ours, theirs = scale_by_adam_whole(), optax.scale_by_adam()
    grads = [jnp.array([0.3, 0.0, -2.0]), jnp.array([-0.1, 0.0, 1.0])]

    def last(optimizer, scale):
        state = optimizer.init(grads[0])
        for g in grads:
            direction, state = optimizer.update(g * scale, state)
        return direction

    np.testing.assert_allclose(last(ours, 1.0), last(theirs, 1.0), rtol=1e-12)
    slopes = jax.jacobian(lambda x: last(ours, 1.0 + x * jnp.array([0.0, 1.0, 0.0])))(0.0)
    np.testing.assert_array_equal(slopes, 0)
    weights = jnp.array([1.0, 3.0])  # of the two gradients: their ratio matters, their size not

    def mixed(w):
        state = ours.init(grads[0])
        for g, x in zip(grads, w, strict=True):
            direction, state = ours.update(g * x, state)
        return direction

    found = jax.jacobian(mixed)(weights)
    step = 1e-6
    for i in range(2):
        bump = step * np.eye(2)[i]
        slope = (mixed(weights + bump) - mixed(weights - bump)) / (2 * step)
        np.testing.assert_allclose(found[:, i], slope, rtol=1e-6, atol=1e-8)
    assert np.abs(found).max() > 0.1
    assert replace(lookahead(), num_updates=2).num_trajectories == 3
