"""How long episodes last in lives that are paid a constant with each reward, under given rules.

    python scripts/paid_lives.py rules/000600.safetensors rules/001400.safetensors --offset 1

Each rule, all of one architecture, lives one life of every arm, in a world of its own. Prints steps
of an episode over the last tenth of life and the policy's entropy at its end: means over the arms,
then arm by arm; first of policies that stay as they were born (docs/experiments.md).
"""

import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from lpg.files.loading import load
from lpg.rule import RuleParams
from lpg.runs.command import enable_compilation_cache
from lpg.runs.streams import fail
from metatrain.cohort import Cohort, build_cohorts
from metatrain.config import MetaTrainConfig
from metatrain.initial_rule import params_of
from metatrain.lifetime import LATE, LifetimeState, birth_with
from metatrain.presets import PRESETS
from metatrain.validation import last_outputs, lived, mean_entropy


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
    rule = load(rules[0]).rule
    config = replace(
        PRESETS["cpu"], envs=(env,), lifetimes=1, reward_offsets=(offset,), num_updates=1,
        unearned_cost=0.0, validation_updates=updates, rule=rule,
    )  # fmt: skip
    etas = {name: params_of(rule, name) for name in rules}
    (cohort,) = build_cohorts(rule, config)
    cohort = replace(cohort, lifetime_windows=np.array([updates], np.int32))
    lives = newborns(config, cohort, seed)
    rates = lives.hypers.learning_rate
    still = lives._replace(hypers=lives.hypers._replace(learning_rate=jnp.zeros_like(rates)))
    live = jax.jit(lambda eta, lives: ends(config, cohort, eta, lives))
    show("as they were born", live(etas[rules[0]], still))
    for name, eta in etas.items():
        show(name, live(eta, lives))


def newborns(config: MetaTrainConfig, cohort: Cohort, seed: int) -> LifetimeState:
    """One of each arm, leading axis L."""
    arms = jnp.arange(len(cohort.learning_rates), dtype=jnp.int32)
    earns = jnp.array(True)
    born = jax.vmap(lambda arm, key: birth_with(cohort, config, key, jnp.int32(0), arm, earns))
    return born(arms, jax.random.split(jax.random.key(seed), len(arms)))


def ends(
    config: MetaTrainConfig, cohort: Cohort, eta: RuleParams, lives: LifetimeState
) -> jax.Array:
    """The last tenth's steps of an episode, and the policies' entropy at the end, [2, L]."""

    def keys(i: jax.Array) -> tuple[jax.Array, ...]:
        return (jax.random.split(jax.random.fold_in(jax.random.key(1), i), len(lives.age)),)

    (lives,) = lived(config.rule, config, (cohort,), eta, (lives,), keys)
    late_updates = LATE * config.validation_updates
    steps = late_updates * config.num_envs * config.num_steps / lives.late.count
    outputs = jax.vmap(lambda life: last_outputs(cohort, life))(lives)
    return jnp.stack([steps, mean_entropy(outputs.logits)])


def show(name: str, found: jax.Array) -> None:
    """A line of means, then the arms' steps."""
    steps, nats = np.mean(found, axis=1)
    each = " ".join(f"{x:.1f}" for x in found[0])
    print(f"{name}: {steps:.1f} steps an episode ({each}), {nats:.2f} nats", flush=True)


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except ValueError as error:  # rules that cannot be read, or are of several architectures
        sys.exit(fail("paid_lives", error, 2))
