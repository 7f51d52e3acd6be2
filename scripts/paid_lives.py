"""How long episodes last in lives that are paid a constant with each reward, under given rules.

    python scripts/paid_lives.py rules/000600.safetensors rules/001400.safetensors --offset 1

Each rule lives one life of every arm, in a world of its own, and prints steps of an episode over
the last tenth of life and the policy's entropy at its end: means over the arms, then arm by arm.
Rate 0 stands for a policy that stays as it was born, in the same worlds (docs/experiments.md).
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from lpg.files.storage import load_rule
from lpg.heads import entropy
from lpg.rule import RuleParams
from lpg.rules.registry import rule_from_architecture
from lpg.runs.command import enable_compilation_cache
from metatrain.cohort import Cohort, build_cohorts
from metatrain.config import MetaTrainConfig
from metatrain.inner_update import updated_agents
from metatrain.lifetime import LATE, LifetimeState, birth_with, grow_older
from metatrain.presets import PRESETS
from metatrain.shares import unmeasured
from metatrain.window import act


def main(
    rules: tyro.conf.Positional[tuple[str, ...]],
    env: str = "rand_sparse",
    offset: float = 1.0,
    updates: int = 500,
    seed: int = 0,
) -> None:
    """Live under each rule.

    Args:
        rules: shipped rules by name, or rule files.
        env: one of the suite's environments.
        offset: added to each reward.
        updates: agent updates of a life; its last tenth is measured.
        seed: of the worlds and of all that happens in them.
    """
    enable_compilation_cache()
    for name in rules:
        file = load_rule(name)
        config = replace(
            PRESETS["cpu"], envs=(env,), lifetimes=1, reward_offsets=(offset,), num_updates=1,
            unearned_cost=0.0, rule=rule_from_architecture(file.architecture),
        )  # fmt: skip
        (cohort,) = build_cohorts(config.rule, config)
        cohort = replace(cohort, lifetime_windows=np.array([updates], np.int32))
        print(f"{name}, {env} paid {offset:+g}")
        for rate, found in live(config, cohort, file.params, updates, seed).items():
            steps, nats = np.mean(found, axis=1)
            each = " ".join(f"{x:.1f}" for x in found[0])
            print(f"  rate {rate}: {steps:.1f} steps an episode ({each}), {nats:.2f} nats")


def live(
    config: MetaTrainConfig, cohort: Cohort, eta: RuleParams, updates: int, seed: int
) -> dict[str, np.ndarray]:
    """Steps of an episode and nats, [2, arms], of lives at the arms' rates and at none."""
    earns = jnp.array(True)
    born = jax.vmap(lambda arm, key: birth_with(cohort, config, key, jnp.int32(0), arm, earns))
    arms = jnp.arange(len(cohort.learning_rates), dtype=jnp.int32)
    lives = born(arms, jax.random.split(jax.random.key(seed), len(arms)))
    whole = jax.jit(lambda lives: lived(config, cohort, eta, lives, updates))
    still = lives.hypers._replace(learning_rate=jnp.zeros_like(lives.hypers.learning_rate))
    return {
        "of the arm": np.asarray(whole(lives)),
        "0": np.asarray(whole(lives._replace(hypers=still))),
    }


def lived(
    config: MetaTrainConfig, cohort: Cohort, eta: RuleParams, lives: LifetimeState, updates: int
) -> jax.Array:
    """The last tenth's steps of an episode, and the policies' entropy at the end, [2, L]."""
    unbounded = unmeasured((jnp.float32(jnp.inf),), (lives.age,))

    def act_on(life: LifetimeState, agent: Any, key: jax.Array) -> LifetimeState:
        state, trajectory, episodes = act(
            cohort, config, life, agent, life.critic, life.rollout, key
        )
        life = grow_older(life, episodes)
        return life._replace(agent=agent, rollout=state, trajectory=trajectory)

    def update(i: jax.Array, lives: LifetimeState) -> LifetimeState:
        (agents,), _ = updated_agents(
            config.rule, config, (cohort,), eta, (lives,), (lives.agent,), (lives.trajectory,),
            unbounded,
        )  # fmt: skip
        keys = jax.random.split(jax.random.fold_in(jax.random.key(1), i), len(lives.age))
        return jax.vmap(act_on)(lives, agents, keys)

    def nats(life: LifetimeState) -> jax.Array:
        body = cohort.body(life.env_params)
        seen = life.trajectory.observation
        return jnp.mean(entropy(body.outputs(life.agent.params, seen).logits))

    lives = jax.lax.fori_loop(0, updates, update, lives)
    steps = LATE * updates * config.num_envs * config.num_steps / lives.late.count
    return jnp.stack([steps, jax.vmap(nats)(lives)])


if __name__ == "__main__":
    tyro.cli(main)
