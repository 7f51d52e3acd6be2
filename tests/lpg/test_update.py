"""One agent update: closed forms, identities, and agents against other implementations."""

import chex
import jax
import jax.extend as jex
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lpg.agent import Body
from lpg.agents.make import make_agent
from lpg.agents.network import NetworkAgent
from lpg.agents.table import TableAgent
from lpg.heads import AgentOutputs, Heads, entropy, mask_logits
from lpg.optimizers import make_optimizer
from lpg.rule import Hypers, rule_inputs
from lpg.rules.lpg import LPG, LPGTargets
from lpg.trajectory import Trajectory
from lpg.update import AgentState, agent_step

T, B, STATES, ACTIONS, M = 5, 4, 6, 3, 5
RULE = LPG(hidden_size=8, prediction_size=M, embedding_size=4)
HEADS = RULE.heads(ACTIONS)
TABLE = TableAgent(HEADS, STATES)
SGD = make_optimizer("sgd")
ALL = jnp.ones((ACTIONS,), bool)


def step_of(agent, optimizer):
    """The update of `agent`, in a world that masks actions."""

    def step(state, trajectory, mask, targets, hypers):
        body = Body(agent, mask)
        return agent_step(RULE, body, optimizer, state, trajectory, targets, hypers)

    return step


table_step = jax.jit(step_of(TABLE, SGD))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def tabular_trajectory(rng):
    """State 5 is seen only as a bootstrap observation, in the row after the last step."""
    observation = rng.integers(0, STATES - 1, (T + 1, B)).astype(np.int32)
    observation[-1] = STATES - 1
    return Trajectory(
        observation=jnp.asarray(observation),
        action=jnp.asarray(rng.integers(0, ACTIONS, (T, B)), jnp.int32),
        reward=jnp.asarray(rng.normal(size=(T, B)), jnp.float32),
        terminated=jnp.asarray(rng.random((T, B)) < 0.2),
        truncated=jnp.asarray(rng.random((T, B)) < 0.2),
        behaviour_log_prob=jnp.full((T, B), -jnp.log(ACTIONS)),
    )


def random_targets(rng):
    y_hat = softmax(rng.normal(size=(T, B, M)))
    return LPGTargets(
        jnp.asarray(rng.normal(size=(T, B)), jnp.float32), jnp.asarray(np.log(y_hat), jnp.float32)
    )


def make_hypers(learning_rate=10.0, prediction_cost=0.5, gamma=0.9):
    return Hypers(jnp.float32(learning_rate), jnp.float32(prediction_cost), jnp.float32(gamma))


def setting(seed=0):
    rng = np.random.default_rng(seed)
    params = jnp.asarray(rng.normal(size=(STATES, HEADS.total)), jnp.float32)
    return AgentState(params, SGD.init(params)), tabular_trajectory(rng), random_targets(rng)


def test_table_update_equals_closed_form():
    """Eq. 2 by hand: sample by sample, averaged over T and B, summed over visits of a state."""
    state, trajectory, targets = setting()
    expected = np.asarray(state.params, np.float64).copy()
    pi = softmax(expected[:, :ACTIONS])
    y = softmax(expected[:, ACTIONS:])
    for t in range(T):
        for b in range(B):
            s, a = int(trajectory.observation[t, b]), int(trajectory.action[t, b])
            pi_hat, y_hat = float(targets.pi_hat[t, b]), np.asarray(targets.y_hat[t, b])
            difference = np.log(y[s]) - np.log(y_hat)
            kl = np.sum(y[s] * difference)
            expected[s, :ACTIONS] += 10.0 / (T * B) * pi_hat * (np.eye(ACTIONS)[a] - pi[s])
            expected[s, ACTIONS:] -= 10.0 / (T * B) * 0.5 * y[s] * (difference - kl)
    after = table_step(state, trajectory, ALL, targets, make_hypers())
    np.testing.assert_allclose(after.params, expected, rtol=1e-4, atol=1e-5)
    # The bootstrap observation's row is not trained on.
    np.testing.assert_array_equal(after.params[STATES - 1], state.params[STATES - 1])


def test_sparse_step_equals_the_dense_one():
    """SGD writes visited rows alone; any other transformation gets the gradient of the table."""
    state, trajectory, targets = setting()
    weights = jnp.asarray(np.random.default_rng(9).normal(size=state.params.shape), jnp.float32)

    def outer(optimizer, params, targets):
        """Two steps, and the rule's inputs in between, so that every path carries a gradient."""
        for _ in range(2):
            outputs, params = Body(TABLE, ALL).read(params, trajectory.observation)
            inputs = rule_inputs(outputs, trajectory, jnp.float32(0.9))
            scaled = targets._replace(
                pi_hat=targets.pi_hat * inputs.action_prob,
                y_hat_logits=targets.y_hat_logits * inputs.prediction[:-1],
            )
            state = AgentState(params, optimizer.init(params))
            step = step_of(TABLE, optimizer)
            params = step(state, trajectory, ALL, scaled, make_hypers()).params
        return jnp.sum(weights * params), params

    gradient = jax.jit(jax.grad(outer, argnums=(1, 2), has_aux=True), static_argnums=0)
    sparse = gradient(SGD, state.params, targets)
    dense = gradient(optax.identity(), state.params, targets)
    chex.assert_trees_all_close(sparse, dense, rtol=1e-4, atol=1e-4)


def test_sparse_steps_make_no_pass_over_the_table():
    """Neither forward nor backward: nothing but row-wise operations yields its whole shape."""
    num_states = 977
    agent = TableAgent(HEADS, num_states)
    table = jnp.zeros((num_states, HEADS.total))
    _, trajectory, targets = setting()

    def outer(params, targets):
        for _ in range(2):
            _, params = Body(agent, ALL).read(params, trajectory.observation)
            state = AgentState(params, ())
            params = step_of(agent, SGD)(state, trajectory, ALL, targets, make_hypers()).params
        return params

    def backward(params, targets, bar):
        return jax.vjp(outer, params, targets)[1](bar)

    program = jax.make_jaxpr(backward)(table, targets, table)
    touching = {
        eqn.primitive.name
        for eqn in all_equations(program.jaxpr)
        for var in eqn.outvars
        if var.aval.shape == table.shape
    }
    assert touching == {"scatter-add"}


def all_equations(jaxpr):
    """With those of nested programs in place of their callers."""
    for eqn in jaxpr.eqns:
        inner = [p for p in eqn.params.values() if isinstance(p, jex.core.ClosedJaxpr)]
        if not inner:
            yield eqn
        for closed in inner:
            yield from all_equations(closed.jaxpr)


def test_zero_prediction_cost_leaves_y_and_zero_pi_hat_leaves_pi():
    state, trajectory, targets = setting()
    after = table_step(state, trajectory, ALL, targets, make_hypers(prediction_cost=0.0)).params
    np.testing.assert_array_equal(after[:, ACTIONS:], state.params[:, ACTIONS:])
    assert not np.allclose(after[:, :ACTIONS], state.params[:, :ACTIONS])
    targets = targets._replace(pi_hat=jnp.zeros((T, B)))
    after = table_step(state, trajectory, ALL, targets, make_hypers()).params
    np.testing.assert_array_equal(after[:, :ACTIONS], state.params[:, :ACTIONS])
    assert not np.allclose(after[:, ACTIONS:], state.params[:, ACTIONS:])


def test_permuting_actions_and_components_permutes_the_update():
    state, trajectory, targets = setting()
    actions, components = np.array([2, 0, 1]), np.array([3, 1, 4, 0, 2])  # new -> old
    columns = np.concatenate([actions, ACTIONS + components])
    permuted = table_step(
        AgentState(state.params[:, columns], state.opt_state),
        trajectory._replace(action=jnp.asarray(np.argsort(actions)[trajectory.action], jnp.int32)),
        ALL,
        targets._replace(y_hat_logits=targets.y_hat_logits[..., components]),
        make_hypers(),
    )
    after = table_step(state, trajectory, ALL, targets, make_hypers())
    np.testing.assert_allclose(permuted.params, after.params[:, columns], rtol=1e-5, atol=1e-6)


def test_padding_changes_nothing():
    """More rows than states and more columns than actions, all of them full of garbage."""
    state, trajectory, targets = setting()
    garbage = np.random.default_rng(5).normal(size=(STATES + 3, HEADS.total + 2)) * 3
    own = np.r_[0:ACTIONS, ACTIONS + 2 : HEADS.total + 2]
    garbage[:STATES][:, own] = state.params
    padded = jnp.asarray(garbage, jnp.float32)
    agent = TableAgent(RULE.heads(ACTIONS + 2), STATES + 3)
    mask = jnp.arange(ACTIONS + 2) < ACTIONS
    unpadded = AgentState(padded, SGD.init(padded))
    after = step_of(agent, SGD)(unpadded, trajectory, mask, targets, make_hypers())
    plain = table_step(state, trajectory, ALL, targets, make_hypers())
    np.testing.assert_allclose(after.params[:STATES][:, own], plain.params, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(after.params[STATES:], padded[STATES:])
    unused = slice(ACTIONS, ACTIONS + 2)
    np.testing.assert_array_equal(after.params[:, unused], padded[:, unused])
    # The rule sees the same too.
    inputs = rule_inputs(
        Body(agent, mask).outputs(padded, trajectory.observation), trajectory, jnp.float32(0.9)
    )
    expected = rule_inputs(
        Body(TABLE, ALL).outputs(state.params, trajectory.observation), trajectory,
        jnp.float32(0.9),
    )  # fmt: skip
    for x, y in zip(*map(jax.tree.leaves, (inputs, expected)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6)


def test_per_state_updates_of_softmax_tables_sum_to_zero():
    state, trajectory, targets = setting()
    update = np.asarray(table_step(state, trajectory, ALL, targets, make_hypers()).params)
    update = update - np.asarray(state.params)
    assert np.abs(update[:-1]).max() > 0.1
    np.testing.assert_allclose(update[:, :ACTIONS].sum(-1), 0.0, atol=2e-6)
    np.testing.assert_allclose(update[:, ACTIONS:].sum(-1), 0.0, atol=2e-6)


def test_rule_inputs():
    state, trajectory, _ = setting()
    outputs = Body(TABLE, ALL).outputs(state.params, trajectory.observation)
    inputs = rule_inputs(outputs, trajectory, jnp.float32(0.9))
    ended = np.asarray(trajectory.terminated) | np.asarray(trajectory.truncated)
    np.testing.assert_array_equal(inputs.not_done, 1.0 - ended)
    np.testing.assert_array_equal(inputs.gamma, np.full(B, np.float32(0.9)))
    pi = softmax(np.asarray(outputs.logits[:-1]))
    taken = np.take_along_axis(pi, np.asarray(trajectory.action)[..., None], -1)[..., 0]
    np.testing.assert_allclose(inputs.action_prob, taken, rtol=1e-5)
    np.testing.assert_array_equal(inputs.prediction, outputs.prediction)
    assert inputs.value.shape == (T + 1, B, 0)


def test_masked_actions_have_probability_exactly_zero():
    logits = jnp.array([[5.0, 80.0, -3.0], [0.0, 1.0, 2.0]])
    mask = jnp.array([True, False, True])

    def masked_entropy(x):
        return jnp.sum(entropy(mask_logits(x, mask)))

    probabilities = jax.nn.softmax(mask_logits(logits, mask))
    np.testing.assert_array_equal(probabilities[:, 1], 0.0)
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, rtol=1e-6)
    value, grad = jax.value_and_grad(masked_entropy)(logits)
    p = softmax(np.asarray(logits)[:, [0, 2]])
    np.testing.assert_allclose(value, -(p * np.log(p)).sum(), rtol=1e-4)
    assert np.isfinite(grad).all()
    np.testing.assert_array_equal(grad[:, 1], 0.0)


@pytest.mark.parametrize(
    ("architecture", "shape"), [("table", ()), ("D(32)", (7,)), ("C(16)-D(32)", (2, 3, 4))]
)
def test_vmap_over_lifetimes_equals_a_loop(architecture, shape):
    """Two lifetimes with hyperparameters, masks and (Adam) pasts of their own."""
    rng = np.random.default_rng(3)
    agent = make_agent(architecture, HEADS, num_states=STATES, observation_shape=shape)
    optimizer = make_optimizer("sgd" if architecture == "table" else "adam")
    lives = []
    for key in jax.random.split(jax.random.key(0), 2):
        trajectory = tabular_trajectory(rng)
        if shape:
            observation = rng.integers(0, 2, (T + 1, B, *shape)).astype(np.uint8)
            trajectory = trajectory._replace(observation=jnp.asarray(observation))
        params = agent.init(key, jnp.int32(STATES))
        opt_state = optimizer.init(params)
        if isinstance(opt_state, optax.ScaleByAdamState):
            # Second moments well above 0 keep directions from amplifying rounding errors.
            opt_state = opt_state._replace(
                count=jnp.int32(3), nu=jax.tree.map(lambda x: x**2 + 0.01, params)
            )
        mask = jnp.asarray([True, True, len(lives) == 0])
        trajectory = trajectory._replace(action=jnp.minimum(trajectory.action, 1))
        hypers = make_hypers(learning_rate=1.0 + len(lives), prediction_cost=0.3 + len(lives))
        lives.append((AgentState(params, opt_state), trajectory, mask, random_targets(rng), hypers))
    step = step_of(agent, optimizer)
    together = jax.jit(jax.vmap(step))(*jax.tree.map(lambda *x: jnp.stack(x), *lives))
    alone = jax.jit(step)
    for i, life in enumerate(lives):
        after = alone(*life)
        for x, y in zip(jax.tree.leaves(together), jax.tree.leaves(after), strict=True):
            np.testing.assert_allclose(x[i], y, rtol=1e-4, atol=1e-5)
        moved = jax.tree.map(lambda a, b: jnp.max(jnp.abs(a - b)), after.params, life[0].params)
        assert all(x > 1e-3 for x in jax.tree.leaves(moved))


def test_convolutional_agent_reads_planes_first():
    """C(2)-D(3) by lax.conv in NCHW and matrices, any leading axes."""
    agent = make_agent("C(2)-D(3)", HEADS, observation_shape=(2, 3, 4))
    params = agent.init(jax.random.key(0), jnp.int32(1))
    observation = np.random.default_rng(0).integers(0, 2, (T, B, 2, 3, 4)).astype(np.uint8)
    conv = params["conv0"]
    x = jax.lax.conv_general_dilated(
        observation.reshape(-1, 2, 3, 4).astype(np.float32),
        conv["kernel"].reshape(3, 3, 2, 2), (1, 1), "SAME",
        dimension_numbers=("NCHW", "HWIO", "NCHW"),
    )  # fmt: skip
    x = np.maximum(np.asarray(x) + np.asarray(conv["bias"])[None, :, None, None], 0)
    x = x.reshape(T * B, -1)
    for name in ("dense0", "heads"):
        x = x @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"])
        x = np.maximum(x, 0) if name == "dense0" else x
    got = agent.apply(params, jnp.asarray(observation))
    np.testing.assert_allclose(got, x.reshape(T, B, -1), rtol=1e-4, atol=1e-5)


def test_table_rows_start_as_a_one_hot_layers_would():
    """Std 1/sqrt(S) of the own states, not of the padded rows; 10,000 draws: 1% is 1.4 sigma."""
    agent = TableAgent(Heads(logits=50, prediction=50, value=1), num_states=100)
    params = np.asarray(agent.init(jax.random.key(0), jnp.int32(25)))
    np.testing.assert_allclose(params[:, :-1].std(), 0.2, rtol=0.05)
    np.testing.assert_array_equal(params[:, -1], 0.0)


def test_architectures_in_table_3s_notation():
    agent = make_agent("C(32-16-16)-D(256)", HEADS, observation_shape=(2, 3, 3))
    assert isinstance(agent, NetworkAgent)
    assert agent.conv_features == (32, 16, 16) and agent.dense_features == (256,)
    with pytest.raises(ValueError, match="Unknown agent 'MLP'"):
        make_agent("MLP", HEADS)
    with pytest.raises(ValueError, match="at least one state"):
        make_agent("table", HEADS)


def test_loss_ignores_the_bootstrap_row():
    _, trajectory, targets = setting()
    outputs = AgentOutputs(
        jnp.zeros((T + 1, B, ACTIONS)), jnp.zeros((T + 1, B, M)), jnp.zeros((T + 1, B, 0))
    )
    grad = jax.grad(lambda o: RULE.loss(o, trajectory, targets, make_hypers()))(outputs)
    assert np.abs(np.asarray(grad.logits[:-1])).min() > 0
    np.testing.assert_array_equal(grad.logits[-1], 0.0)
    np.testing.assert_array_equal(grad.prediction[-1], 0.0)
