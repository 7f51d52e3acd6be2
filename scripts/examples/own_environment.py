"""Meta-train on an environment of your own, beside published ones."""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.suite import SuiteRow
from metatrain.cohort import build_cohorts, make_cohort
from metatrain.engine import Engine
from metatrain.presets import PRESETS


class Params(NamedTuple):
    length: jax.Array
    max_steps_in_episode: jax.Array  # gymnax's name for the time limit


class Corridor:
    """Walk right to the end of a corridor for +1 before time is up; every life its own length."""

    num_actions, default_params = 2, Params(jnp.int32(8), jnp.int32(40))

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


row = SuiteRow(
    name="corridor", family="user", spec=None, agent="D(16)", optimizer="adam",
    learning_rates=(1e-3, 5e-3), prediction_costs=(0.1, 0.5, 1.0), lifetime_steps=1_000_000,
    random_return=0.6, best_return=1.0,
)  # fmt: skip
config = replace(PRESETS["quick"], lifetimes=16 * len(PRESETS["quick"].envs))
published = build_cohorts(config.rule, config)
env = Corridor()
stacked = jax.tree.map(lambda x: jnp.asarray(x)[None], env.default_params)  # one row of params each
mine = make_cohort(
    config.rule, config, [row], env, stacked, 16, first_index=config.lifetimes,
)  # fmt: skip
engine = Engine(config.rule, config, (*published, mine))
state = engine.init(jax.random.key(0))
for _ in range(5):
    state, metrics = engine.run(state, 40)  # 40 meta-steps; state.rule_params is eta
    corridor = metrics.environments[-1]
    mean_return = float(corridor.return_sum[0] / corridor.episodes[0])
    print(f"meta-step {int(state.meta_step)}: corridor's mean return {mean_return:.2f}")
