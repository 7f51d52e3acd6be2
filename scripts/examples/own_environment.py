"""An environment of one's own in meta-training, beside published ones, and in meta-testing:

    cd scripts/examples
    metatrain --preset quick --envs short long own_environment:Corridor --lifetimes 60 \\
        --meta-steps 200 --run-dir runs/corridor
    metatest --rule runs/corridor/rule.safetensors --baselines a2c \\
        --envs own_environment:Corridor --run-dir runs/corridor-test
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.suite import SuiteRow


class Params(NamedTuple):
    length: jax.Array
    max_steps_in_episode: jax.Array  # gymnax's name for the time limit


class Corridor:
    """Walk right to the end of a corridor for +1 before time is up; every life its own length."""

    num_actions, default_params = 2, Params(jnp.int32(8), jnp.int32(40))

    # Optional: without it agent and arms go by what is observed, and returns by random play.
    suite_row = SuiteRow(
        name="corridor",
        family="user",
        spec=None,
        agent="D(16)",
        optimizer="adam",
        learning_rates=(1e-3, 5e-3),
        prediction_costs=(0.1, 0.5, 1.0),
        lifetime_steps=1_000_000,
        random_return=0.6,
        best_return=1.0,
    )

    def sample_params(self, key, params):
        """Optional: the instance of one lifetime."""
        return params._replace(length=jax.random.randint(key, (), 4, params.length + 1))

    def reset_env(self, key, params):
        return jax.nn.one_hot(0, 8), (jnp.int32(0), jnp.int32(0))

    def step_env(self, key, state, action, params):
        place = jnp.clip(state[0] + 2 * action - 1, 0, params.length - 1)
        there = place == params.length - 1
        return jax.nn.one_hot(place, 8), (place, state[1] + 1), jnp.float32(there), there, {}

    def is_truncated(self, state, params):
        return state[1] >= params.max_steps_in_episode
