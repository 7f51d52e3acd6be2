"""A small world for agents that tune themselves: trajectories, a body, one life."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lpg.agent import Body
from lpg.agents.make import make_agent
from lpg.rule import Hypers
from lpg.trajectory import Trajectory
from lpg.update import AgentState

T, B, FEATURES, ACTIONS = 4, 3, 5, 3


def trajectory(seed=0, dtype=jnp.float32):
    """Off-policy: mu is not any agent's; episodes end here and there."""
    rng = np.random.default_rng(seed)
    done = rng.random((T, B)) < 0.2
    return Trajectory(
        observation=jnp.asarray(rng.normal(size=(T + 1, B, FEATURES)), dtype),
        action=jnp.asarray(rng.integers(0, ACTIONS, (T, B)), jnp.int32),
        reward=jnp.asarray(rng.normal(size=(T, B)), dtype),
        terminated=jnp.asarray(done),
        truncated=jnp.zeros((T, B), bool),
        behaviour_log_prob=jnp.asarray(np.log(rng.uniform(0.1, 0.9, (T, B))), dtype),
    )


def hypers(learning_rate=0.05, dtype=jnp.float32):
    return Hypers(*(jnp.asarray(x, dtype) for x in (learning_rate, 0.5, 0.9)))


def body_of(learner, architecture="D(6)"):
    agent = make_agent(architecture, learner.heads(ACTIONS), observation_shape=(FEATURES,))
    return Body(agent, jnp.ones((ACTIONS,), bool))


def newborn(learner, optimizer, dtype=jnp.float32, seed=0):
    """One life; biases are drawn too, so that no gradient is 0 by birth."""
    agent = body_of(learner).agent
    params = agent.init(jax.random.key(seed), jnp.int32(0))
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    leaves = [jnp.asarray(x + 0.3 * rng.normal(size=x.shape), dtype) for x in leaves]
    params = jax.tree.unflatten(tree, leaves)
    return learner.init(jax.random.key(1), AgentState(params, optimizer.init(params)))


def meta_gradient(learner, optimizer, state, inner, outer, given, own_data=False):
    """-(raw' - raw) under plain descent of rate 1, and theta'."""
    assert isinstance(learner.meta_optimizer, optax.GradientTransformation)

    @jax.jit
    def tuned(state, inner, outer, given):
        return learner.tune(body_of(learner), optimizer, state, inner, outer, given, own_data)

    after = tuned(state, inner, outer, given)
    return jax.tree.map(lambda a, b: a - b, state.own.raw, after.own.raw), after.agent
