"""The window's layout: one rule call for everybody, K windows of one update, keys, padding."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import TINY, unbounded

from envs.suite import SUITE
from lpg.platform import for_platform
from lpg.rows import inputs_to_rows
from lpg.rule import RuleInputs
from metatrain import inner_update
from metatrain import window as window_module
from metatrain.cohort import build_cohorts, make_cohort
from metatrain.engine import Engine
from metatrain.inner_update import evened, lifetime_inputs, recompute, targets_of_all
from metatrain.lifetime import birth_with


def random_inputs(key, num_lifetimes, num_envs, num_steps=4, m=5):
    keys = jax.random.split(key, 5)
    shape = (num_lifetimes, num_steps, num_envs)
    return RuleInputs(
        reward=jax.random.normal(keys[0], shape),
        not_done=jax.random.bernoulli(keys[1], 0.7, shape).astype(jnp.float32),
        gamma=jax.random.uniform(keys[2], (num_lifetimes, num_envs)),
        action_prob=jax.random.uniform(keys[3], shape),
        prediction=jax.random.normal(keys[4], (num_lifetimes, num_steps + 1, num_envs, m)),
        value=jnp.zeros((num_lifetimes, num_steps + 1, num_envs, 0)),
    )


def test_one_rule_call_equals_one_per_lifetime():
    rule = TINY.rule
    eta = rule.init(jax.random.key(0))
    inputs = [random_inputs(jax.random.key(1), 3, 2), random_inputs(jax.random.key(2), 2, 4)]
    together = jax.jit(lambda *given: targets_of_all(rule, *given))(eta, inputs)
    targets = jax.jit(rule.targets)
    for cohort_inputs, cohort_targets in zip(inputs, together, strict=True):
        for i in range(cohort_inputs.reward.shape[0]):
            alone = targets(eta, jax.tree.map(lambda x, i=i: x[i], cohort_inputs))
            for a, b in zip(*map(jax.tree.leaves, (alone, cohort_targets)), strict=True):
                np.testing.assert_allclose(a, b[i], rtol=1e-5, atol=1e-6)


class RewardsBack:
    """A rule whose targets are the rewards that it read."""

    init = heads = loss = print  # of no use here

    def targets(self, rule_params, inputs):
        self.read = inputs
        return inputs.reward


def test_on_accelerators_rows_are_made_even_and_nobody_sees_it(monkeypatch):
    """To multiples, by some of the last ones; not where that would be much work."""
    monkeypatch.setattr(inner_update, "EVEN", 10)
    inputs = [random_inputs(jax.random.key(1), 50, 4), random_inputs(jax.random.key(2), 33, 6)]
    read = {}
    for platform in ("cpu", "gpu"):
        rule = RewardsBack()
        with for_platform(platform):
            found = targets_of_all(rule, None, inputs)
        for given, back in zip(inputs, found, strict=True):
            np.testing.assert_array_equal(given.reward, back)
        read[platform] = rule.read
    assert [len(x.gamma) for x in read.values()] == [398, 400]
    for plain, even in zip(*map(jax.tree.leaves, read.values()), strict=True):
        plain, even = (np.moveaxis(x, min(1, x.ndim - 1), 0) for x in (plain, even))
        np.testing.assert_array_equal(plain, even[:398])
        np.testing.assert_array_equal(plain[-2:], even[398:])
    with for_platform("gpu"):
        few = [inputs_to_rows(random_inputs(jax.random.key(1), 5, 6))]
        assert evened(few) is few and len(few[0].gamma) == 30
        assert evened(few * 2)[-1] is few[0]
        monkeypatch.setattr(inner_update, "EVEN", 16)
        assert evened(few) is few  # 2 of 30


def test_the_rule_never_sees_what_the_critic_says_beyond_a_time_limit():
    """Though the trajectory carries it, for the critic's own returns."""
    config = dataclasses.replace(TINY, envs=("sparse",), lifetimes=2, num_steps=60)
    (cohort,) = build_cohorts(TINY.rule, config)
    keys, zero = jax.random.split(jax.random.key(0), 2), jnp.int32(0)

    @jax.jit
    @jax.vmap
    def born(key):
        return birth_with(cohort, config, key, zero, zero, jnp.bool_(True))

    lives = born(keys)
    one = jax.tree.map(lambda x: x[0], lives)
    cut = one.trajectory.truncated & ~one.trajectory.terminated
    assert cut.any()  # after 50 steps
    np.testing.assert_array_equal(one.trajectory.final_value, 0.0)  # as a table says at first
    told = one._replace(critic=one.critic._replace(params=one.critic.params + 2.0))

    @jax.jit
    def act(told, key):
        return window_module.act(cohort, config, told, told.agent, told.critic, told.rollout, key)

    _, after, _ = act(told, keys[1])
    cut = after.truncated & ~after.terminated
    assert cut.any()
    np.testing.assert_array_equal(after.final_value, jnp.where(cut, 2.0, 0.0))
    inputs, _ = lifetime_inputs(cohort, one, one.agent, after)
    assert inputs.final_value is None


@pytest.mark.slow
def test_a_window_of_two_updates_is_two_windows_of_one():
    """theta and the environments after K windows of length 1 equal those of one of length K."""
    config = dataclasses.replace(TINY, envs=("short",), lifetimes=2)
    engine = Engine(TINY.rule, config)
    state = engine.init(jax.random.key(0))
    keys = (jax.random.split(jax.random.key(1), 2),)

    def run(config, lifetimes, keys):
        @jax.jit
        def after(eta, lifetimes, keys):
            shares = unbounded(config, keys)
            return window_module.window_loss(
                TINY.rule, config, engine.cohorts, eta, lifetimes, keys, shares
            )[1][0]

        return after(state.rule_params, lifetimes, keys)

    whole = run(config, state.lifetimes, keys)[0]
    one = dataclasses.replace(config, num_updates=1)
    split = jax.vmap(lambda k: jax.random.split(k, 2))(keys[0])
    lifetimes = state.lifetimes
    with pytest.MonkeyPatch.context() as patch:
        # A window of one update must use the key as it is, as the longer one's scan does.
        original = jax.random.split
        for k in range(2):
            patch.setattr(
                jax.random,
                "split",
                lambda key, num=2: key[None] if num == 1 else original(key, num),
            )
            lifetimes = run(one, lifetimes, (split[:, k],))
    for name in ("agent", "critic", "rollout", "trajectory"):
        for a, b in zip(
            jax.tree.leaves(getattr(whole, name)),
            jax.tree.leaves(getattr(lifetimes[0], name)),
            strict=True,
        ):
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-6)


def test_a_cohort_of_several_environments_equals_each_alone():
    """Padded together or built alone: same lives from the same keys, tables compared where used."""
    config = dataclasses.replace(TINY, envs=("short", "long"), lifetimes=4)
    engine = Engine(TINY.rule, config)
    together = engine.init(jax.random.key(0)).lifetimes[0]
    (cohort,) = engine.cohorts
    for i, name in enumerate(cohort.names):
        rows = [SUITE[name]]
        env, base = window_module_stack(name)
        alone_cohort = make_cohort(TINY.rule, config, rows, env, base, 2, first_index=2 * i)
        alone_engine = Engine(TINY.rule, config, (alone_cohort,))
        alone = alone_engine.init(jax.random.key(0)).lifetimes[0]
        num_rows = alone.agent.params.shape[1]
        part = jax.tree.map(lambda x, i=i: x[2 * i : 2 * i + 2], together)
        np.testing.assert_array_equal(part.env_params.length, alone.env_params.length)
        np.testing.assert_array_equal(part.agent.params[:, :num_rows], alone.agent.params)
        for a, b in zip(part.trajectory, alone.trajectory, strict=True):
            np.testing.assert_array_equal(a, b)


def window_module_stack(name):
    from envs.suite import stack

    return stack((name,))


def test_a_cpu_recomputes_where_agents_have_convolutions():
    def recomputed(*envs, **changed):
        config = dataclasses.replace(TINY, envs=envs, lifetimes=len(envs), **changed)
        return recompute(config, build_cohorts(config.rule, config))

    assert not recomputed("long", "dense") and not recomputed("long", "rand_small", "distractor")
    assert recomputed("long", "rand_dense")
    assert recomputed("long", remat=True) and not recomputed("rand_dense", remat=False)
    with for_platform("gpu"):
        assert recomputed("long") and recomputed("rand_small")


@pytest.mark.slow
def test_layout_of_lifetimes_does_not_matter():
    """A lifetime's draws come from its global index, not from its place in a cohort."""
    config = dataclasses.replace(TINY, envs=("distractor",), lifetimes=4)
    whole = Engine(TINY.rule, config)
    state = whole.init(jax.random.key(0))
    half_config = dataclasses.replace(config, lifetimes=2)
    env, base = window_module_stack("distractor")
    cohort = make_cohort(TINY.rule, half_config, [SUITE["distractor"]], env, base, 2, first_index=2)
    half = Engine(TINY.rule, half_config, (cohort,)).init(jax.random.key(0))
    for a, b in zip(
        jax.tree.leaves(state.lifetimes[0].trajectory),
        jax.tree.leaves(half.lifetimes[0].trajectory),
        strict=True,
    ):
        np.testing.assert_array_equal(np.asarray(a)[2:], np.asarray(b))
