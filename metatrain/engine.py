"""The engine: meta-steps between two log lines as one jitted program over one pytree of state."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from envs.rollout import EpisodeSummary
from lpg.rule import RuleParams, UpdateRule
from metatrain import bandit as bandits
from metatrain.bandit import BanditState
from metatrain.cohort import Cohort, build_cohorts
from metatrain.devices import AXIS, REPLICATED, SHARED, gather, local_slots, make_mesh, place
from metatrain.lifetime import (
    LifetimeState,
    birth,
    final_return,
    grow_older,
    is_deterministic,
    stagger,
)
from metatrain.metrics import EnvironmentMetrics, Metrics, add, zero_metrics
from metatrain.presets import MetaTrainConfig
from metatrain.window import CohortReport, window_loss

# Streams of keys derived from the root; lifetimes take theirs from BIRTH or WINDOW by
# global index and meta-step, so results do not depend on how lifetimes are laid out.
RULE, FIRST_BIRTH, STAGGER, WINDOW, REBIRTH = range(5)


class EngineState(NamedTuple):
    """Everything that a checkpoint must hold; nothing else changes while training."""

    key: Array  # root PRNG key
    meta_step: Int[Array, ""]
    rule_params: RuleParams  # eta
    meta_opt_state: Any  # Adam's on eta, with the counts of skipped meta-gradients
    lifetimes: tuple[LifetimeState, ...]  # per cohort, leading axis L
    bandits: tuple[BanditState, ...]  # per cohort


# How the state lies on the devices: lifetimes are shared, all else is on each.
SPECS = EngineState(REPLICATED, REPLICATED, REPLICATED, REPLICATED, SHARED, REPLICATED)


class EndedLives(NamedTuple):
    """Lifetimes that end with this window, leading axis L."""

    ended: Array  # bool
    deterministic: Array  # bool, by the entropy guard
    final_return: Array  # f32, undiscounted, not normalised


class Engine:
    """Static parts (rule, config, cohorts) and the two programs: `init` and `run`."""

    def __init__(
        self,
        rule: UpdateRule,
        config: MetaTrainConfig,
        cohorts: tuple[Cohort, ...] | None = None,
        devices: list[Any] | None = None,
    ):
        """Raises ValueError where the cohorts cannot be shared evenly by the devices (all)."""
        self.rule = rule
        self.config = config
        self.cohorts = build_cohorts(rule, config) if cohorts is None else cohorts
        self.mesh = make_mesh(self.cohorts, devices)
        self.meta_optimizer = meta_optimizer(config)
        shard = partial(jax.shard_map, mesh=self.mesh, check_vma=False)
        init = shard(self._init, in_specs=REPLICATED, out_specs=SPECS)
        run = shard(self._run, in_specs=(SPECS, REPLICATED), out_specs=(SPECS, REPLICATED))
        self.init = jax.jit(init)
        # The carry is donated: the state passed in must not be used again.
        self.run = jax.jit(run, donate_argnums=0)

    def place(self, state: EngineState) -> EngineState:
        """A restored state, laid over the devices; it may come from any number of them."""
        return place(state, self.mesh, SPECS)

    @property
    def names(self) -> tuple[tuple[str, ...], ...]:
        return tuple(cohort.names for cohort in self.cohorts)

    def _init(self, key: Array) -> EngineState:
        """Fresh rule and lifetimes of staggered ages."""
        rule_params = self.rule.init(jax.random.fold_in(key, RULE))
        bandit_states = tuple(bandits.init(len(c.names), len(c.kl_costs)) for c in self.cohorts)
        lifetimes = []
        for cohort, bandit in zip(self.cohorts, bandit_states, strict=True):
            make = partial(birth, cohort, self.config, bandit)
            keys = lifetime_keys(cohort, jax.random.fold_in(key, FIRST_BIRTH), jnp.int32(0))
            born = jax.vmap(make)(keys, local_environments(cohort))
            keys = lifetime_keys(cohort, jax.random.fold_in(key, STAGGER), jnp.int32(0))
            lifetimes.append(jax.vmap(stagger)(keys, born))
        return EngineState(
            key=key,
            meta_step=jnp.int32(0),
            rule_params=rule_params,
            meta_opt_state=self.meta_optimizer.init(rule_params),
            lifetimes=tuple(lifetimes),
            bandits=bandit_states,
        )

    def _run(
        self, state: EngineState, num_meta_steps: Int[Array, ""]
    ) -> tuple[EngineState, Metrics]:
        """`num_meta_steps` meta-steps (data, so that every length shares one program)."""

        def step(_, carry):
            state, total = carry
            state, metrics = self.meta_step(state)
            return state, add(total, metrics)

        zero = zero_metrics(tuple(len(names) for names in self.names))
        return jax.lax.fori_loop(0, num_meta_steps, step, (state, zero))

    def meta_step(self, state: EngineState) -> tuple[EngineState, Metrics]:
        """One window of every lifetime, Adam on eta, then births in place of the ended."""
        key = jax.random.fold_in(state.key, WINDOW)
        keys = tuple(lifetime_keys(c, key, state.meta_step) for c in self.cohorts)

        def loss(rule_params):
            return window_loss(
                self.rule, self.config, self.cohorts, rule_params, state.lifetimes, keys
            )

        # Each device's loss is its share of the mean, so the shares' gradients add up.
        grads, (lifetimes, reports) = jax.grad(loss, has_aux=True)(state.rule_params)
        grads = jax.lax.psum(grads, AXIS)
        reports = gather(reports)
        updates, meta_opt_state = self.meta_optimizer.update(
            grads, state.meta_opt_state, state.rule_params
        )
        settled = [
            self._settle(cohort, state, lifetime, bandit, report)
            for cohort, lifetime, bandit, report in zip(
                self.cohorts, lifetimes, state.bandits, reports, strict=True
            )
        ]
        after = state._replace(
            meta_step=state.meta_step + 1,
            rule_params=optax.apply_updates(state.rule_params, updates),
            meta_opt_state=meta_opt_state,
            lifetimes=tuple(lifetime for lifetime, _, _ in settled),
            bandits=tuple(bandit for _, bandit, _ in settled),
        )
        return after, step_metrics(reports, tuple(m for _, _, m in settled), grads)

    def _settle(
        self,
        cohort: Cohort,
        state: EngineState,
        lifetimes: LifetimeState,
        bandit: BanditState,
        report: CohortReport,
    ) -> tuple[LifetimeState, BanditState, EnvironmentMetrics]:
        """End-of-window bookkeeping of one cohort: ages, final returns, bandit, births.

        `report`, the bandit and the metrics are of the whole cohort, `lifetimes` this device's.
        """
        slots = local_slots(cohort)
        own = jax.tree.map(lambda x: x[slots], report)
        before = lifetimes.late
        lifetimes = jax.vmap(grow_older)(lifetimes, own.episodes)
        late = jax.tree.map(jnp.subtract, lifetimes.late, before)
        own_lives = ended_lives(self.config, lifetimes, own)
        lives, late, arm, scored = gather((own_lives, late, lifetimes.arm, lifetimes.scored))
        environment = jnp.asarray(cohort.environment_index)
        low = jnp.asarray(cohort.random_return)[environment]
        high = jnp.asarray(cohort.best_return)[environment]
        score = jnp.clip((lives.final_return - low) / (high - low), 0.0, 1.0)
        # A life cut short by the guard is the arm's doing whatever its generation.
        counted = lives.ended & (scored | lives.deterministic)
        bandit = bandits.update(bandit, environment, arm, score, counted)
        metrics = environment_metrics(cohort, report, late, lives)
        key = jax.random.fold_in(state.key, REBIRTH)
        keys = lifetime_keys(cohort, key, state.meta_step)
        born = replace_ended(cohort, self.config, bandit, lifetimes, own_lives, keys)
        return born, bandit, metrics


def meta_optimizer(config: MetaTrainConfig) -> optax.GradientTransformation:
    """Adam on the clipped meta-gradient; a non-finite one changes nothing and is counted.

    The training loop stops when too many come in a row; optax alone would let one through.
    """
    adam = optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm), optax.adam(config.meta_learning_rate)
    )
    return optax.apply_if_finite(adam, max_consecutive_errors=2**30)


def skipped_in_a_row(state: EngineState) -> int:
    """Non-finite meta-gradients since the last finite one."""
    return int(state.meta_opt_state.notfinite_count)


def lifetime_keys(cohort: Cohort, key: Array, meta_step: Int[Array, ""]) -> Array:
    """PRNG keys of this device's lifetimes, from their global indices and the meta-step."""
    indices = cohort.first_index + local_slots(cohort)
    return jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(key, i), meta_step))(indices)


def local_environments(cohort: Cohort) -> Int[Array, "L"]:
    """The environment of each of this device's lifetimes."""
    return jnp.asarray(cohort.environment_index)[local_slots(cohort)]


def ended_lives(
    config: MetaTrainConfig, lifetimes: LifetimeState, report: CohortReport
) -> EndedLives:
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
    environment = local_environments(cohort)

    def fill(carry):
        lifetimes, waiting = carry
        slots = jnp.nonzero(waiting, size=batch, fill_value=num_lifetimes)[0]
        safe = jnp.minimum(slots, num_lifetimes - 1)
        born = jax.vmap(partial(birth, cohort, config, bandit))(keys[safe], environment[safe])
        lifetimes = jax.tree.map(
            lambda old, new: old.at[slots].set(new, mode="drop"), lifetimes, born
        )
        return lifetimes, waiting.at[slots].set(False, mode="drop")

    filled, _ = jax.lax.while_loop(lambda carry: jnp.any(carry[1]), fill, (lifetimes, lives.ended))
    return filled


def environment_metrics(
    cohort: Cohort, report: CohortReport, late: EpisodeSummary, lives: EndedLives
) -> EnvironmentMetrics:
    """Sums over each environment's slots (means for the entropies)."""

    def total(x: Array) -> Float[Array, "E"]:
        return jnp.sum(x.astype(jnp.float32).reshape((len(cohort.names), -1)), axis=1)

    return EnvironmentMetrics(
        return_sum=total(report.episodes.return_sum),
        episodes=total(report.episodes.count),
        reward_sum=total(report.episodes.reward_sum),
        late_return_sum=total(late.return_sum),
        late_episodes=total(late.count),
        final_return_sum=total(jnp.where(lives.ended, lives.final_return, 0.0)),
        lives_ended=total(lives.ended),
        lives_deterministic=total(lives.deterministic),
        policy_entropy=total(report.loss.policy_entropy) / cohort.lifetimes_per_env,
        prediction_entropy=total(report.loss.prediction_entropy) / cohort.lifetimes_per_env,
    )


def step_metrics(
    reports: tuple[CohortReport, ...],
    environments: tuple[EnvironmentMetrics, ...],
    grads: RuleParams,
) -> Metrics:
    parts = [jnp.concatenate(leaves) for leaves in zip(*(r.loss for r in reports), strict=True)]
    norm = optax.global_norm(grads)
    finite = jnp.isfinite(norm)
    return Metrics(
        environments=environments,
        loss_parts=jnp.stack([jnp.mean(part) for part in parts]),
        gradient_norm=jnp.where(finite, norm, 0.0),
        skipped=1.0 - finite.astype(jnp.float32),
        meta_steps=jnp.float32(1.0),
    )
