"""The smallest environment that can be learned: what tests of own environments share."""

import jax.numpy as jnp
from gymnax.environments import environment, spaces


class Corridor(environment.Environment):
    """Two actions, five steps, a reward of 1 for each action 1."""

    @property
    def default_params(self):
        return environment.EnvParams(max_steps_in_episode=5)

    @property
    def num_actions(self):
        return 2

    def reset_env(self, key, params):
        return jnp.ones(3), environment.EnvState(time=jnp.int32(0))

    def step_env(self, key, state, action, params):
        state = environment.EnvState(time=state.time + 1)
        reward = jnp.asarray(action, jnp.int32)
        return jnp.ones(3), state, reward, jnp.array(False), {}

    def action_space(self, params=None):
        return spaces.Discrete(2)
