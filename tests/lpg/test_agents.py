"""Tables and networks as agents: what a step touches, and one pass for rule and step alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lpg.agent import Body
from lpg.agents.make import make_agent
from lpg.agents.network import NetworkAgent
from lpg.agents.table import TableAgent
from lpg.heads import Heads
from lpg.optimizers import SGD, make_optimizer
from lpg.rule import Hypers
from lpg.rules.a2c import A2C, A2CTargets
from lpg.trajectory import Trajectory
from lpg.update import AgentState, agent_step, read

HEADS = Heads(logits=2, value=1)
TABLE = TableAgent(HEADS, num_states=4)
NETWORK = NetworkAgent(HEADS, (2, 3), (), (5, 4))
TOLD = NetworkAgent(HEADS._replace(condition=2), (2, 3), (), (5, 4))


def numbers(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def network_params(agent=NETWORK):
    shapes = jax.eval_shape(agent.init, jax.random.key(0), jnp.int32(0))
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), shapes)


def by_hand(params, observation):
    x = np.asarray(observation, np.float64).reshape(-1, 6)
    for name in ("dense0", "dense1", "heads"):
        x = x @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"])
        x = x if name == "heads" else np.maximum(x, 0)
    return x


def test_dense_layers_read_observations_of_any_shape_and_type_under_any_axes():
    """D(5-4) on bytes [2, 3], as one matrix product after the other."""
    params = network_params()
    observation = np.random.default_rng(2).integers(0, 5, (3, 4, 2, 3)).astype(np.uint8)
    expected = by_hand(params, observation).reshape(3, 4, 3)
    for found in (
        NETWORK.apply(params, jnp.asarray(observation)),
        NETWORK.acting(params)(jnp.asarray(observation)),
    ):
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    alone = NETWORK.apply(params, jnp.asarray(observation[1, 2]))
    np.testing.assert_allclose(alone, expected[1, 2], rtol=1e-4, atol=1e-5)


def test_cells_beyond_the_table_are_read_and_written_at_its_edge():
    table = numbers(4, 3)
    cells = jnp.array([9, 0])
    np.testing.assert_array_equal(TABLE.apply(table, cells), table[np.array([3, 0])])
    after = TABLE.step_rows(table, cells, lambda rows: jnp.sum(rows[0]), jnp.float32(2.0))
    np.testing.assert_array_equal(after[:3], table[:3])
    np.testing.assert_allclose(after[3], table[3] - 2.0, rtol=1e-6)


def test_a_state_seen_twice_is_moved_by_both_sights_and_one_not_seen_by_none():
    """d/dx of sum w x^2 / 2 is w x, of each sight its own."""
    table, weights = numbers(4, 3), numbers(2, 3, 3, seed=3)
    cells = jnp.array([[1, 3, 1], [1, 0, 3]])
    step = TABLE.step_rows(
        table, cells, lambda rows: jnp.sum(weights * rows**2) / 2, jnp.float32(0.5)
    )
    expected = np.asarray(table, np.float64).copy()
    for i in np.ndindex(2, 3):
        cell = int(cells[i])
        expected[cell] -= 0.5 * np.asarray(weights[i]) * np.asarray(table[cell])
    np.testing.assert_allclose(step, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(step[2], table[2])
    written = TABLE.write(table, cells, weights)
    expected = np.asarray(table).copy()
    np.add.at(expected, np.asarray(cells), np.asarray(weights))
    np.testing.assert_allclose(written, expected, rtol=1e-6)
    with pytest.raises(TypeError, match="no rows to write"):
        NETWORK.write(network_params(), cells, weights)


NO_NAMES = ["D(5", "D()", "C(16)", "d(5)", "D(5)-D(4)", " D(5)", "Table", ""]
NO_NAMES += ["D(-)", "D(3--2)", "D(0)", "C(0)-D(3)", "D(\u0663)"]


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_not_in_table_3s_notation_is_refused(name):
    with pytest.raises(ValueError, match="Unknown agent"):
        make_agent(name, HEADS, num_states=4, observation_shape=(2, 3))


def setting(agent):
    rng = np.random.default_rng(4)
    observation = rng.integers(0, 4, (4, 2)) if agent is TABLE else rng.normal(size=(4, 2, 2, 3))
    ends = jnp.zeros((3, 2), bool)
    trajectory = Trajectory(
        jnp.asarray(observation, jnp.int32 if agent is TABLE else jnp.float32),
        jnp.asarray(rng.integers(0, 2, (3, 2)), jnp.int32),
        numbers(3, 2), ends, ends, numbers(3, 2),
    )  # fmt: skip
    return trajectory, A2CTargets(numbers(3, 2, seed=5), numbers(3, 2, seed=6))


@pytest.mark.parametrize(
    "agent, optimizer", [(TABLE, SGD), (NETWORK, make_optimizer("adam")), (TOLD, SGD)]
)
def test_a_step_from_what_was_read_is_the_step_that_reads_again(agent, optimizer):
    """Whether the way back is kept, as a network's is, or there are rows to go back to."""
    body = Body(agent, jnp.array([True, True]), numbers(2) if agent is TOLD else None)
    params = numbers(4, 3) if agent is TABLE else network_params(agent)
    hypers = Hypers(jnp.float32(0.1), jnp.float32(0.5), jnp.float32(0.9))
    trajectory, targets = setting(agent)

    @jax.jit
    def both(params):
        outputs, reading, goes_on = read(body, params, trajectory.observation)
        assert (reading.pullback is None) == agent.sparse
        states = [AgentState(x, optimizer.init(params)) for x in (goes_on, params)]
        kept, again = (
            agent_step(A2C(), body, optimizer, state, trajectory, targets, hypers, reading=how)
            for state, how in zip(states, (reading, None), strict=True)
        )
        return outputs, body.outputs(params, trajectory.observation), kept, again

    outputs, expected, kept, again = both(params)
    for x, y in zip(jax.tree.leaves((outputs, kept)), jax.tree.leaves((expected, again)),
                    strict=True):  # fmt: skip
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), kept.params, params)
    assert min(jax.tree.leaves(moved)) > 1e-3
