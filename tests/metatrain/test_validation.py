"""Fresh lives under the frozen rule: their layout, figures against a loop, resuming."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import TINY

from lpg.heads import action_log_prob
from lpg.update import AgentState
from metatrain.engine import Engine
from metatrain.validation import Validation, older

CONFIG = replace(TINY, envs=("short", "long"), lifetimes=4, validation_seeds=2)
CONFIG = replace(CONFIG, validation_updates=30)
ARMS = 9


@pytest.fixture(scope="module")
def engine():
    return Engine(CONFIG.rule, CONFIG)


@pytest.fixture(scope="module")
def validation(engine):
    return Validation(CONFIG.rule, CONFIG, engine.cohorts)


@pytest.fixture(scope="module")
def found(engine, validation):
    return validation(engine.init(jax.random.key(0)).rule_params)


def test_the_score_is_the_mean_over_environments_of_the_mean_over_arms(found):
    score, figures = found
    assert list(figures) == ["short", "long"]
    for x in figures.values():
        assert len(x["return_by_arm"]) == ARMS
        assert x["return"] == pytest.approx(np.mean(x["return_by_arm"]), abs=1e-6)
    assert score == pytest.approx(np.mean([x["return"] for x in figures.values()]), abs=1e-6)
    assert 0.0 < figures["short"]["policy_entropy"] <= np.log(2) + 1e-5


def test_it_says_the_same_each_time_and_for_each_number_of_devices(engine, validation, found):
    again = validation(engine.init(jax.random.key(0)).rule_params)
    assert again == found
    other = validation(engine.init(jax.random.key(1)).rule_params)
    assert other[1] != found[1]


def lives(validation, key=0):
    """Newborn validation lives on one device, as the program makes them."""
    shard = jax.shard_map(
        lambda k: validation._births(validation.cohorts[0], k),
        mesh=jax.sharding.Mesh(np.array(jax.devices()[:1]), ("lifetimes",)),
        in_specs=jax.sharding.PartitionSpec(),
        out_specs=jax.sharding.PartitionSpec("lifetimes"),
        check_vma=False,
    )
    return jax.jit(shard)(jax.random.key(key))


def test_all_arms_meet_the_same_worlds_and_the_last_lives_have_the_middle_arm(validation):
    born = lives(validation)
    per_env = (ARMS + 1) * 2
    cohort = validation.cohorts[0]
    for environment in range(2):
        part = jax.tree.map(lambda x, e=environment: x[e * per_env : (e + 1) * per_env], born)
        assert part.arm.tolist() == [*np.repeat(np.arange(ARMS), 2), ARMS // 2, ARMS // 2]
        np.testing.assert_array_equal(
            part.hypers.learning_rate, cohort.learning_rates[np.asarray(part.arm)]
        )
        lengths = np.asarray(part.env_params.length).reshape(ARMS + 1, 2)
        assert (lengths == lengths[0]).all()
        tables = np.asarray(part.agent.params).reshape(ARMS + 1, 2, -1)
        assert (tables == tables[0]).all() and not (tables[0, 0] == tables[0, 1]).all()


def test_lives_without_rewards_read_none(validation):
    """Their agents move as if the environment paid nothing; those that earn do not."""
    born = lives(validation)
    cohort = validation.cohorts[0]
    agents = AgentState(born.agent.params, born.agent.opt_state)
    act = jax.shard_map(
        lambda lifetimes, agents, key: jax.vmap(partial(older, cohort, validation.config))(
            lifetimes, agents, validation._keys(cohort, key)
        ),
        mesh=jax.sharding.Mesh(np.array(jax.devices()[:1]), ("lifetimes",)),
        in_specs=jax.sharding.PartitionSpec(),
        out_specs=jax.sharding.PartitionSpec("lifetimes"),
        check_vma=False,
    )
    acted = born
    rewards = np.abs(born.trajectory.reward).sum(axis=(1, 2))
    for i in range(8):
        acted = jax.jit(act)(acted, agents, jax.random.key(i))
        rewards = rewards + np.abs(acted.trajectory.reward).sum(axis=(1, 2))
    rewards = rewards.reshape(2, ARMS + 1, 2)
    np.testing.assert_array_equal(rewards[:, ARMS], 0.0)
    assert (rewards[:, :ARMS].sum(axis=(1, 2)) > 0).all()


def test_collapsed_is_never_taking_the_right_action_at_a_start(validation):
    """Against a look at the two rows of the table from which a chain starts."""
    from metatrain.validation import _is_collapsed

    cohort = validation.cohorts[0]
    life = jax.tree.map(lambda x: x[0], lives(validation))
    length = int(life.env_params.length)
    starts = {0: 0, 1: 2 * length - 1}  # correct action: state
    for wrong in (None, 0, 1):
        table = jnp.zeros_like(life.agent.params)
        if wrong is not None:
            table = table.at[starts[wrong], 1 - wrong].set(6.0)  # probability .9975
        planted = life._replace(agent=life.agent._replace(params=table))
        states = jnp.array([starts[0], starts[1]])
        logits = cohort.body(life.env_params).outputs(table, states).logits
        right = np.exp(action_log_prob(logits, jnp.array([0, 1])))
        assert bool(_is_collapsed(cohort, planted)) == (right.min() < 0.01) == (wrong is not None)
