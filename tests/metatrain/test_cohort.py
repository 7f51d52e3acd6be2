"""How lifetimes are laid out, their arms and lengths, what crosses devices, and chunks."""

from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TINY

from envs.suite import SUITE
from metatrain.cohort import all_tables, build_cohorts, make_cohort, map_joined
from metatrain.devices.chunks import into_chunks, out_of_chunks
from metatrain.devices.mesh import REPLICATED, gather, local_slots, make_mesh, total

CONFIG = replace(TINY, lifetimes=20, reward_free_share=0.4, lifetime_scale=0.01)


@pytest.fixture(scope="module")
def cohorts():
    """Of sparse, of two chains, and of the distractor chain; 5 lifetimes an environment."""
    return build_cohorts(CONFIG.rule, CONFIG)


def test_slots_lie_environment_by_environment_and_the_last_of_each_earn_nothing(cohorts):
    _, chains, _ = cohorts
    assert chains.names == ("short", "long_noisy") and chains.num_lifetimes == 10
    assert chains.environment_index.tolist() == [0] * 5 + [1] * 5
    assert chains.earns.tolist() == ([True] * 3 + [False] * 2) * 2
    assert [cohort.first_index for cohort in cohorts] == [0, 5, 15]


def test_arms_lengths_and_references_are_table_3s(cohorts):
    """A window is 4 x 5 x 2 = 40 steps; of 3M, 1M, 1M and 2M steps there is a hundredth."""
    for cohort in cohorts:
        row = SUITE[cohort.names[0]]
        arms = list(zip(cohort.learning_rates, cohort.prediction_costs, strict=True))
        np.testing.assert_allclose(
            arms, list(product(row.learning_rates, row.prediction_costs)), rtol=1e-6
        )
        for i, name in enumerate(cohort.names):
            bounds = (cohort.random_return[i], cohort.best_return[i])
            row = SUITE[name]
            np.testing.assert_allclose(bounds, (row.random_return, row.best_return), rtol=1e-6)
    assert [c.lifetime_windows.tolist() for c in cohorts] == [[750], [250, 250], [500]]
    tiny = build_cohorts(TINY.rule, replace(TINY, lifetime_scale=1e-9))
    assert [c.lifetime_windows.tolist() for c in tiny] == [[1], [1, 1], [1]]
    odd = build_cohorts(TINY.rule, replace(CONFIG, num_steps=6))  # 10,000 / 48 = 208.3
    assert odd[1].lifetime_windows.tolist() == [209, 209]
    assert all_tables(cohorts[:2]) and not all_tables(cohorts)


def test_an_environment_without_a_time_limit_is_refused(cohorts):
    row, env = SUITE["short"], cohorts[1].env
    with pytest.raises(ValueError, match="params of short have no max_steps_in_episode"):
        make_cohort(TINY.rule, TINY, [row], env, SimpleNamespace(length=jnp.ones(1)), 2)


def test_lifetimes_of_all_cohorts_are_mapped_at_once_and_given_back():
    calls, parts = [], (jnp.arange(3.0), jnp.arange(5.0) + 10, jnp.zeros(0))

    def square(x):
        calls.append(x.shape)
        return jnp.stack([x, x * x])

    found = map_joined(square, parts)
    for part, own in zip(parts, found, strict=True):
        np.testing.assert_array_equal(own, np.stack([part, part * part], axis=-1))
    assert calls == [()]


def test_what_devices_hold_is_gathered_to_the_bit_and_summed(cohorts):
    """Over five devices: lives 0 to 9 in order, two a device, of any kind of number."""
    _, chains, _ = cohorts
    mesh = make_mesh((chains,), jax.devices()[:5])
    special = np.array(
        [-0.0, np.inf, -np.inf, 1e-45, np.nan, 1.5, -2.5, 3e38, 0.0, 7.0], np.float32
    )
    numbers = np.array([-1, 2**31 - 1, -(2**31), 3, 4, 5, 6, 7, 8, 9], np.int32)
    pairs = np.arange(20.0, dtype=np.float32).reshape(10, 2)

    def program():
        mine = local_slots(chains)
        held = {
            "a": jnp.asarray(special)[mine],
            "b": mine % 3 == 0,
            "c": jnp.asarray(numbers)[mine],
        }
        held["d"] = jnp.asarray(pairs)[mine]
        return gather(held), total({"n": jnp.sum(mine), "x": jnp.sum(held["d"], axis=0)})

    shards = jax.shard_map(program, mesh=mesh, in_specs=(), out_specs=REPLICATED, check_vma=False)
    whole, sums = jax.device_get(jax.jit(shards)())
    np.testing.assert_array_equal(whole["a"].view(np.uint32), special.view(np.uint32))
    np.testing.assert_array_equal(whole["b"], np.arange(10) % 3 == 0)
    np.testing.assert_array_equal(whole["c"], numbers)
    np.testing.assert_array_equal(whole["d"], pairs)
    assert sums["n"] == 45 and sums["x"].tolist() == [90.0, 100.0]
    assert [whole[name].dtype.name for name in "abc"] == ["float32", "bool", "int32"]


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2))
def test_chunks_are_consecutive_lifetimes_and_come_back_in_their_order(count, size, rank):
    shape = (count * size, *(2,) * rank)
    tree = {"x": np.arange(np.prod(shape)).reshape(shape), "y": np.arange(count * size)}
    chunks = into_chunks(tree, count)
    for i in range(count):
        np.testing.assert_array_equal(chunks["x"][i], tree["x"][i * size : (i + 1) * size])
    back = out_of_chunks(chunks)
    jax.tree.map(np.testing.assert_array_equal, back, tree)
