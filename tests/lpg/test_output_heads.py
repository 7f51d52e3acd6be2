"""Heads on a torso: widths, layers of their own, and what the network is told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lpg.agent import Body
from lpg.agents.make import make_agent
from lpg.heads import Heads, split_heads

HEAD = Heads(logits=3, value=2, hidden=(0, 4))
HEADS = HEAD._replace(auxiliary=(HEAD, Heads(logits=3, value=1)), condition=2)
OBSERVATION = jnp.asarray(np.random.default_rng(0).normal(size=(7, 5)), jnp.float32)


def agent_and_params(heads=HEADS):
    agent = make_agent("D(6)", heads, observation_shape=(5,))
    return agent, agent.init(jax.random.key(0), jnp.int32(0))


def dense(params, x):
    return x @ np.asarray(params["kernel"]) + np.asarray(params.get("bias", 0.0))


def test_a_vector_by_hand():
    """Features and the embedded condition through a layer, then head by head."""
    agent, params = agent_and_params()
    told = jnp.array([0.3, -1.2])
    x = np.maximum(dense(params["dense0"], np.asarray(OBSERVATION)), 0)
    embedded = np.broadcast_to(dense(params["condition"], np.asarray(told)), (7, 16))
    x = np.maximum(dense(params["conditioned"], np.concatenate([x, embedded], axis=1)), 0)
    parts = []
    for suffix in ("", "_1"):
        h = np.maximum(dense(params[f"hidden0{suffix}"], x), 0)
        assert h.shape[-1] == 6  # as wide as the torso ends
        h = np.maximum(dense(params[f"hidden1{suffix}"], h), 0)
        parts.append(dense(params[f"heads{suffix}"], h))
    parts.append(dense(params["heads_2"], x))
    expected = np.concatenate(parts, axis=1)
    assert expected.shape[-1] == HEADS.total == 5 + 5 + 4
    np.testing.assert_allclose(
        agent.apply(params, OBSERVATION, told), expected, rtol=1e-4, atol=1e-5
    )
    acting = agent.acting(params, told)
    np.testing.assert_allclose(acting(OBSERVATION), expected, rtol=1e-4, atol=1e-5)


def test_outputs_come_head_by_head_and_all_are_masked():
    agent, params = agent_and_params()
    body = Body(agent, jnp.array([True, False, True]), jnp.ones(2))
    outputs = body.outputs(params, OBSERVATION)
    vector = agent.apply(params, OBSERVATION, jnp.ones(2))
    begin = 0
    for head, width in zip(outputs.heads, (5, 5, 4), strict=True):
        own = np.asarray(vector[:, begin : begin + width])
        np.testing.assert_array_equal(head.logits[:, ::2], own[:, :3:2])
        assert (np.asarray(head.logits)[:, 1] == -1e9).all()
        np.testing.assert_array_equal(head.value, own[:, 3:])
        begin += width
    acting = body.acting(params)(OBSERVATION)
    np.testing.assert_allclose(acting.logits, outputs.logits, rtol=1e-6)


def test_one_plain_head_is_one_layer():
    """As rule files, checkpoints and users' own torsos have it."""
    _, params = agent_and_params(Heads(logits=3, prediction=4))
    assert set(params) == {"dense0", "heads"} and params["heads"]["kernel"].shape == (6, 7)
    outputs = split_heads(Heads(3, 4), jnp.zeros((2, 7)))
    assert outputs.auxiliary == () and outputs.heads == (outputs,)


def test_a_condition_must_be_told_and_tables_take_none():
    agent, params = agent_and_params()
    with pytest.raises(ValueError, match="must be told a condition"):
        agent.apply(params, OBSERVATION)
    for heads in (HEAD, Heads(3, condition=1), Heads(3, auxiliary=(Heads(3),))):
        with pytest.raises(ValueError, match="give its agent a network"):
            make_agent("table", heads, num_states=4)


def test_the_value_alone_is_told_where_that_is_asked():
    heads = Heads(logits=3, value=1, condition=1, value_alone_is_told=True)
    agent, params = agent_and_params(heads)
    x = np.maximum(dense(params["dense0"], np.asarray(OBSERVATION)), 0)
    for told in (0.3, 2.0):
        embedded = np.broadcast_to(dense(params["condition"], np.array([told])), (7, 16))
        joined = np.concatenate([x, embedded], axis=1)
        value = dense(params["value"], np.maximum(dense(params["conditioned"], joined), 0))
        expected = np.concatenate([dense(params["heads"], x), value], axis=1)
        found = agent.apply(params, OBSERVATION, jnp.array([told]))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
