"""PPO against rlax and NumPy, and several epochs against one step."""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import rlax

from lpg.agent import Body
from lpg.agents.make import make_agent
from lpg.epochs import Epochs, minibatch
from lpg.heads import AgentOutputs
from lpg.learner import FrozenRule, Learner
from lpg.optimizers import make_optimizer
from lpg.rule import Hypers, bootstraps
from lpg.rules.a2c import A2C, A2CTargets
from lpg.rules.ppo import PPO
from lpg.trajectory import Trajectory
from lpg.update import AgentState

EXAMPLES = Path(__file__).parents[2] / "scripts" / "examples"
T, B, ACTIONS, SEEN = 6, 4, 3, 5
HYPERS = Hypers(jnp.float32(0.01), jnp.float32(0.7), jnp.float32(0.9))


def setting(seed=0):
    rng = np.random.default_rng(seed)
    trajectory = Trajectory(
        observation=jnp.asarray(rng.normal(size=(T + 1, B, SEEN)), jnp.float32),
        action=jnp.asarray(rng.integers(0, ACTIONS, (T, B)), jnp.int32),
        reward=jnp.asarray(rng.normal(size=(T, B)), jnp.float32),
        terminated=jnp.asarray(rng.random((T, B)) < 0.2),
        truncated=jnp.zeros((T, B), bool),
        behaviour_log_prob=jnp.asarray(np.log(rng.uniform(0.2, 0.6, (T, B))), jnp.float32),
    )
    targets = A2CTargets(*(jnp.asarray(x, jnp.float32) for x in rng.normal(size=(2, T, B))))
    outputs = AgentOutputs(
        jnp.asarray(rng.normal(size=(T + 1, B, ACTIONS)), jnp.float32),
        jnp.zeros((T + 1, B, 0)),
        jnp.asarray(rng.normal(size=(T + 1, B, 1)), jnp.float32),
    )
    return trajectory, targets, outputs


def test_loss_equals_rlax():
    trajectory, targets, outputs = setting()
    log_pi = np.asarray(jax.nn.log_softmax(outputs.logits[:-1]), np.float64)
    taken = np.take_along_axis(log_pi, np.asarray(trajectory.action)[..., None], -1)[..., 0]
    ratio = np.exp(taken - trajectory.behaviour_log_prob)
    assert (abs(ratio - 1) > 0.2).mean() > 0.3 and (abs(ratio - 1) < 0.2).any()
    advantage = np.asarray(targets.advantage, np.float64)
    advantage = (advantage - advantage.mean()) / advantage.std()
    surrogate = rlax.clipped_surrogate_pg_loss(ratio.reshape(-1), advantage.reshape(-1), 0.2)
    error = np.asarray(targets.value_target) - np.asarray(outputs.value)[:-1, :, 0]
    entropy = -(np.exp(log_pi) * log_pi).sum(-1)
    expected = surrogate + 0.35 * (error**2).mean() - 0.01 * entropy.mean()
    got = PPO().loss(outputs, trajectory, targets, HYPERS)
    assert float(got) == pytest.approx(float(expected), rel=1e-5)


def newborn(learner):
    agent = make_agent("D(8)", learner.heads(ACTIONS), observation_shape=(SEEN,))
    params = agent.init(jax.random.key(1), jnp.int32(0))
    optimizer = make_optimizer("adam")
    state = learner.init(jax.random.key(2), AgentState(params, optimizer.init(params)))
    return Body(agent, jnp.ones(ACTIONS, bool)), optimizer, state


def learn(learner):
    body, optimizer, state = newborn(learner)
    return state, learned(learner, body, optimizer, state, setting()[0])


def learned(learner, body, optimizer, state, trajectory, hypers=HYPERS):
    def learn(state, trajectory, hypers):
        return learner.learn(body, optimizer, state, [trajectory], hypers)

    return jax.jit(learn)(state, trajectory, hypers)


def test_one_epoch_in_one_piece_is_one_step():
    """A mean does not ask for the order of its parts."""
    _, once = learn(FrozenRule(A2C(), ()))
    _, shuffled = learn(Epochs(A2C(), (), num_epochs=1, num_minibatches=1))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        once.agent.params,
        shuffled.agent.params,
    )


@dataclass(frozen=True)
class Counting(A2C):
    """Its loss moves a bias of the network by one for each step that it is shown."""

    def loss(self, outputs, trajectory, targets, hypers):
        return jnp.sum(outputs.value[:-1] * targets.advantage[..., None])

    def targets(self, rule_params, inputs):
        number = jnp.arange(T * B, dtype=jnp.float32).reshape(T, B)
        return A2CTargets(2.0**number / 2.0**12, number)


@pytest.mark.parametrize(("epochs", "pieces"), [(1, 4), (3, 4), (2, 5)])
def test_every_step_is_seen_once_an_epoch_and_by_its_own_target(epochs, pieces):
    """The bias of V sinks by the sum of what the steps are worth, powers of two; of 24 steps five
    pieces leave four out, others each time."""
    learner = Epochs(Counting(), (), epochs, pieces)
    body, _, state = newborn(learner)
    rate_of_one = HYPERS._replace(learning_rate=jnp.float32(1))
    after = learned(learner, body, optax.identity(), state, setting()[0], rate_of_one)

    def bias(params):
        return [x for path, x in jax.tree.leaves_with_path(params) if x.shape == (ACTIONS + 1,)]

    (before,), (now,) = bias(state.agent.params), bias(after.agent.params)
    total = float(before[-1] - now[-1]) * 2.0**12
    whole = float(2**24 - 1)
    if pieces == 4:
        assert total == pytest.approx(epochs * whole, rel=1e-6)
    else:
        assert 0 < total < epochs * whole * (1 - 1e-6)
    assert (jax.random.key_data(after.own) != jax.random.key_data(state.own)).any()


def test_a_minibatch_keeps_what_belongs_together():
    trajectory, targets, _ = setting()
    chosen = jnp.array([5, 0, 23, 10])
    part, own = minibatch(trajectory, targets, chosen)
    assert part.observation.shape == (5, 1, SEEN) and part.action.shape == (4, 1)
    for i, number in enumerate([5, 0, 23, 10]):
        t, b = divmod(number, B)
        np.testing.assert_array_equal(part.observation[i, 0], trajectory.observation[t, b])
        assert part.action[i, 0] == trajectory.action[t, b]
        assert part.behaviour_log_prob[i, 0] == trajectory.behaviour_log_prob[t, b]
        assert own.value_target[i, 0] == targets.value_target[t, b]


def test_too_few_steps_are_refused():
    with pytest.raises(ValueError, match="24 steps do not make 30 minibatches"):
        learn(Epochs(PPO(), (), num_minibatches=30))
    with pytest.raises(ValueError, match="clip be positive"):
        PPO(clip=0.0)


def test_the_example_is_the_same_algorithm():
    """Written by other means; the same key gives the same shuffles, hence the same agent."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        example = importlib.import_module("own_learner").PPO()
    finally:
        sys.path.remove(str(EXAMPLES))
    assert isinstance(example, Learner) and bootstraps(example)
    trajectory = setting()[0]
    trajectory = trajectory._replace(final_value=jnp.where(trajectory.terminated, 0.0, 2.0))
    after = []
    for learner in (example, Epochs(PPO(), ())):
        body, optimizer, state = newborn(learner)
        after.append(learned(learner, body, optimizer, state, trajectory).agent.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-5), *after)
