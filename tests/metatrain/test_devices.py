"""Eight virtual devices, or four chunks, against one; restoring onto another number of them."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import SHARED

from lpg.runs.checkpoint import Checkpoints
from metatrain.devices.mesh import UnevenLifetimesError, compiler_options, even_devices, make_mesh
from metatrain.engine import Engine
from metatrain.memory import foretold_bytes, needed_bytes


def engine(num_devices, num_chunks=1):
    return Engine(SHARED.rule, SHARED, None, jax.devices()[:num_devices], num_chunks)


@pytest.fixture(scope="module")
def engines(shardy):
    assert jax.device_count() >= 8, "the tests ask XLA for eight CPU devices"
    return {n: engine(n) for n in (1, 8)}


def host(tree):
    return jax.tree.map(
        lambda x: np.asarray(
            jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        ),
        tree,
    )


ROUNDING = {"rtol": 1e-6, "atol": 1e-7}
# Adam divides a gradient near zero by its own size: rounding becomes a few hundredths of a step
# (1e-2 here).
ADAMS_ROUNDING = {"rtol": 2e-3, "atol": 5e-4}


def assert_same(one, many, exact, but_for=ADAMS_ROUNDING):
    for a, b in zip(jax.tree.leaves(host(one)), jax.tree.leaves(host(many)), strict=True):
        if exact or not np.issubdtype(a.dtype, np.floating):
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, **but_for)


def test_eight_devices_live_the_same_lives(engines):
    """Worlds and actions exactly; eta, summed in another order, to rounding."""
    states = {n: e.init(jax.random.key(3)) for n, e in engines.items()}
    # A compiler may round a draw by how many lives a device has.
    assert_same(states[1], states[8], exact=False, but_for=ROUNDING)
    assert len(states[8].lifetimes[0].age.sharding.device_set) == 8
    after = {n: engines[n].run(states[n], 3) for n in engines}
    (one, metrics_one), (many, metrics_many) = after[1], after[8]
    for a, b in zip(one.lifetimes, many.lifetimes, strict=True):
        exact = ("env_params", "arm", "hypers", "age", "duration", "rollout", "late")
        for name in exact:
            assert_same(getattr(a, name), getattr(b, name), exact=True)
        np.testing.assert_array_equal(a.trajectory.action, b.trajectory.action)
    assert_same(one.bandits, many.bandits, exact=True)
    assert_same(one.rule_params, many.rule_params, exact=False)
    assert_same(metrics_one, metrics_many, exact=False)
    ended = sum(float(e.lives_ended.sum()) for e in metrics_one.environments)
    assert ended > 0  # births and the bandit were part of it
    moved = jax.tree.map(lambda x: float(jnp.abs(x).max()), many.rule_params)
    assert max(jax.tree.leaves(moved)) > 0


@pytest.mark.parametrize(("before", "after"), [(8, 1), (1, 8)])
def test_a_run_goes_on_on_another_number_of_devices(engines, tmp_path, before, after):
    first, other = engines[before], engines[after]
    state, _ = first.run(first.init(jax.random.key(3)), 2)
    Checkpoints(tmp_path).save(2, state)
    expected, _ = first.run(state, 1)
    like = jax.eval_shape(other.init, jax.random.key(0))
    restored = Checkpoints(tmp_path).restore_newest(like)
    assert restored is not None
    found, _ = other.run(other.place(restored.state), 1)
    assert len(found.lifetimes[0].age.sharding.device_set) == after
    for a, b in zip(expected.lifetimes, found.lifetimes, strict=True):
        np.testing.assert_array_equal(a.trajectory.action, b.trajectory.action)
    assert_same(expected.rule_params, found.rule_params, exact=False)


def test_lifetimes_that_cannot_be_shared_are_refused(engines):
    with pytest.raises(UnevenLifetimesError, match="16 lifetimes|8 lifetimes"):
        make_mesh(engines[1].cohorts, jax.devices()[:3])
    assert make_mesh(engines[1].cohorts).size == 8


def test_processes_give_equally_many_devices(engines, monkeypatch):
    """16 lifetimes and 8: of two processes with three and five devices, two each."""
    found = [SimpleNamespace(process_index=int(i >= 3), id=i) for i in range(8)]
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "devices", lambda: found)
    assert [d.id for d in even_devices(engines[1].cohorts)] == [0, 1, 3, 4]


def test_one_all_reduce_and_one_all_gather_a_meta_step(engines):
    program = engines[8].program.as_text()
    counts = [program.count(f" {name}(") for name in ("all-reduce", "all-gather")]
    assert counts == [1, 1]


def test_a_cpus_code_is_optimised_less_unless_the_user_says_how_much(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
    assert compiler_options("cpu") == {"xla_backend_optimization_level": 1}
    assert compiler_options("gpu") == {}
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=3")
    assert compiler_options("cpu") == {}


@pytest.fixture(scope="module")
def chunked(engines):
    return engine(1, num_chunks=4)


def test_chunks_give_the_same_lives_and_gradient(engines, chunked):
    (whole, metrics), (parts, parts_metrics) = (
        e.run(e.init(jax.random.key(5)), 2) for e in (engines[1], chunked)
    )
    for a, b in zip(whole.lifetimes, parts.lifetimes, strict=True):
        np.testing.assert_array_equal(a.trajectory.action, b.trajectory.action)
        np.testing.assert_array_equal(a.trajectory.reward, b.trajectory.reward)
    # The first meta-gradient decides the second window, so both are compared. Newborn lifetimes'
    # advantages are divided by small deviations, which makes rounding up to 5e-5 of a gradient.
    np.testing.assert_allclose(metrics.gradient_norm, parts_metrics.gradient_norm, rtol=1e-4)
    for a, b in zip(
        jax.tree.leaves(whole.meta_opt_state.inner_state[1][0].mu),
        jax.tree.leaves(parts.meta_opt_state.inner_state[1][0].mu),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)  # rounding, in another order
        assert np.abs(a).max() > 1e-5


def test_chunks_need_less_memory_and_the_trace_foretells_about_how_much(engines, chunked):
    assert needed_bytes(chunked) < 0.8 * needed_bytes(engines[1])
    for each in (engines[1], chunked):
        assert 0.6 < foretold_bytes(each) / needed_bytes(each) < 1.5
