"""The end of a window: lives that are over, what the bandit and the log hear of it, births."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from lpg.rollout import EpisodeSummary
from lpg.rule import RuleParams
from metatrain import bandit as bandits
from metatrain.bandit import BanditState
from metatrain.cohort import Cohort, map_joined
from metatrain.config import MetaTrainConfig
from metatrain.devices.mesh import local_slots
from metatrain.lifetime import LifetimeState, birth, final_return, grow_older, is_deterministic
from metatrain.metrics import EnvironmentMetrics, Metrics
from metatrain.window import CohortReport


class EndedLives(NamedTuple):
    """Lifetimes that end with this window, leading axis L."""

    ended: Array  # bool
    deterministic: Array  # bool, by the entropy guard
    final_return: Array  # f32, undiscounted, not normalised


class Outcome(NamedTuple):
    """What a window means for a cohort, leading axis L: a few numbers a lifetime."""

    report: CohortReport
    share: Float[Array, "L K"]  # norms of the targets' cotangents, update by update
    late: EpisodeSummary  # the part of its episodes that fell in the last tenth of a life
    lives: EndedLives
    arm: Int[Array, "L"]
    scored: Array  # bool: a whole life, fit to be told to the bandit
    earns: Array  # bool
    beyond: Array  # bool: its episodes can be longer than a trajectory


def lifetime_keys(
    cohorts: tuple[Cohort, ...], key: Array, meta_step: Int[Array, ""]
) -> tuple[Array, ...]:
    """PRNG keys of this device's lifetimes, from their global indices and the meta-step."""
    indices = tuple(cohort.first_index + local_slots(cohort) for cohort in cohorts)
    return map_joined(lambda i: jax.random.fold_in(jax.random.fold_in(key, i), meta_step), indices)


def local_environments(cohort: Cohort) -> Int[Array, "L"]:
    """The environment of each of this device's lifetimes."""
    return jnp.asarray(cohort.environment_index)[local_slots(cohort)]


def local_earns(cohort: Cohort) -> Bool[Array, "L"]:
    """Which of this device's lifetimes earn anything."""
    return jnp.asarray(cohort.earns)[local_slots(cohort)]


def grow(
    config: MetaTrainConfig,
    lifetimes: LifetimeState,
    report: CohortReport,
    share: Float[Array, "L K"],
) -> tuple[LifetimeState, Outcome]:
    """Lifetimes a window older, and what became of them."""
    before = lifetimes.late
    lifetimes = jax.vmap(grow_older)(lifetimes, report.episodes)
    late = jax.tree.map(jnp.subtract, lifetimes.late, before)
    lives = ended_lives(config, lifetimes, report)
    length = jnp.asarray(lifetimes.env_params.max_steps_in_episode)
    beyond = jnp.broadcast_to(length > config.num_steps, lifetimes.arm.shape)
    outcome = Outcome(
        report, share, late, lives, lifetimes.arm, lifetimes.scored, lifetimes.earns, beyond
    )
    return lifetimes, outcome


def tell_bandit(cohort: Cohort, bandit: BanditState, outcome: Outcome) -> BanditState:
    """The normalised final returns of the cohort's lives that ended (Eq. 6)."""
    environment = jnp.asarray(cohort.environment_index)
    low = jnp.asarray(cohort.random_return)[environment]
    high = jnp.asarray(cohort.best_return)[environment]
    lives = outcome.lives
    score = jnp.clip((lives.final_return - low) / (high - low), 0.0, 1.0)
    # A life cut short by the guard is the arm's doing whatever its generation.
    counted = lives.ended & (outcome.scored | lives.deterministic) & outcome.earns
    return bandits.update(bandit, environment, outcome.arm, score, counted)


def ended_lives(
    config: MetaTrainConfig, lifetimes: LifetimeState, report: CohortReport
) -> EndedLives:
    """Lives that came to the end of their duration, or that the guard of B.1 ends."""
    deterministic = jax.vmap(partial(is_deterministic, config))(
        lifetimes, report.loss.policy_entropy
    )
    returns = jax.vmap(partial(final_return, config))(lifetimes, report.episodes)
    return EndedLives(
        ended=(lifetimes.age >= lifetimes.duration) | deterministic,
        deterministic=deterministic,
        final_return=jnp.where(jnp.isfinite(returns), returns, 0.0),
    )


def replace_ended(
    cohort: Cohort,
    config: MetaTrainConfig,
    bandit: BanditState,
    lifetimes: LifetimeState,
    lives: EndedLives,
    keys: Array,
) -> LifetimeState:
    """Newborns in the slots of the lifetimes that ended, a few at a time.

    A handful ends per window: creating only these, however many, costs a fraction of creating
    all and selecting.
    """
    num_lifetimes = lives.ended.shape[0]
    batch = max(1, num_lifetimes // 16)
    environment, earns = local_environments(cohort), local_earns(cohort)

    counted = jnp.cumsum(lives.ended)
    num_ended = counted[-1]

    def fill(done: Array, lifetimes: LifetimeState) -> LifetimeState:
        first = done * batch
        # The places of the next who ended, num_lifetimes where fewer than a batch are left.
        nth = first + jnp.arange(batch)
        slots = jnp.sum(counted[None] <= nth[:, None], axis=1)
        safe = jnp.minimum(slots, num_lifetimes - 1)
        born = jax.vmap(partial(birth, cohort, config, bandit))(
            keys[safe], environment[safe], earns[safe]
        )

        def move_in(i: Array, lifetimes: LifetimeState) -> LifetimeState:
            # A scatter of the batch would be several kernels a leaf, and slower to compile.
            def place(leaf: Array, newborns: Array) -> Array:
                return jax.lax.dynamic_update_index_in_dim(leaf, newborns[i], slots[i], axis=0)

            return jax.tree.map(place, lifetimes, born)

        return jax.lax.fori_loop(0, jnp.minimum(num_ended - first, batch), move_in, lifetimes)

    num_batches = (num_ended + batch - 1) // batch
    return jax.lax.fori_loop(0, num_batches, fill, lifetimes)


def environment_metrics(cohort: Cohort, outcome: Outcome) -> EnvironmentMetrics:
    """Sums over each environment's slots (means for the entropies)."""
    report, late, lives = outcome.report, outcome.late, outcome.lives

    def by_environment(x: Array) -> Float[Array, "E n"]:
        return x.astype(jnp.float32).reshape((len(cohort.names), -1))

    def total(x: Array) -> Float[Array, "E"]:
        return jnp.sum(by_environment(x), axis=1)

    # Lives that earn nothing have their own figures in validation.
    earning = cohort.lifetimes_per_env - cohort.reward_free_lives
    policy_entropy, prediction_entropy = (
        jnp.where(outcome.earns, x, 0.0)
        for x in (report.loss.policy_entropy, report.loss.prediction_entropy)
    )
    share = finite(jnp.sqrt(jnp.sum(outcome.share**2, axis=1)))

    return EnvironmentMetrics(
        return_sum=total(report.episodes.return_sum),
        episodes=total(report.episodes.count),
        reward_sum=total(report.episodes.reward_sum),
        late_return_sum=total(late.return_sum),
        late_episodes=total(late.count),
        beyond_return_sum=total(jnp.where(outcome.beyond, late.return_sum, 0.0)),
        beyond_episodes=total(jnp.where(outcome.beyond, late.count, 0.0)),
        final_return_sum=total(jnp.where(lives.ended & outcome.earns, lives.final_return, 0.0)),
        lives_ended=total(lives.ended & outcome.earns),
        lives_deterministic=total(lives.deterministic),
        lives_not_finite=total(~jnp.all(jnp.isfinite(outcome.share), axis=1)),
        policy_entropy=total(finite(policy_entropy)) / earning,
        prediction_entropy=total(finite(prediction_entropy)) / earning,
        share_median=jnp.median(by_environment(share), axis=1),
        share_largest=jnp.max(by_environment(share), axis=1),
    )


def step_metrics(
    cohorts: tuple[Cohort, ...], outcomes: tuple[Outcome, ...], grads: RuleParams
) -> Metrics:
    """What one meta-step adds to the log line; `grads` are those of all devices."""

    def mean(*cohorts: Array) -> Array:
        return jnp.mean(finite(jnp.concatenate(cohorts)))

    norm = optax.global_norm(grads)
    return Metrics(
        environments=tuple(map(environment_metrics, cohorts, outcomes)),
        loss=jax.tree.map(mean, *(outcome.report.loss for outcome in outcomes)),
        gradient_norm=finite(norm),
        skipped=1.0 - jnp.isfinite(norm).astype(jnp.float32),
        meta_steps=jnp.float32(1.0),
    )


def finite(x: Array) -> Array:
    """Zeros for numbers that are not."""
    return jnp.where(jnp.isfinite(x), x, 0.0)
