"""The engine: meta-steps between two log lines as one jitted program over one pytree of state."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from lpg.rule import RuleParams, UpdateRule
from metatrain import bandit as bandits
from metatrain.bandit import BanditState
from metatrain.cohort import Cohort, build_cohorts
from metatrain.devices import REPLICATED, SHARED, gather, make_mesh, place, total
from metatrain.lifetime import LifetimeState, birth, stagger
from metatrain.metrics import Metrics, add, zero_metrics
from metatrain.presets import MetaTrainConfig
from metatrain.turnover import (
    grow,
    lifetime_keys,
    local_environments,
    replace_ended,
    step_metrics,
    tell_bandit,
)
from metatrain.window import window_loss

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
            state, sums = carry
            state, metrics = self.meta_step(state)
            return state, add(sums, metrics)

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
        grads = total(grads)
        updates, meta_opt_state = self.meta_optimizer.update(
            grads, state.meta_opt_state, state.rule_params
        )
        lifetimes, own = zip(*map(partial(grow, self.config), lifetimes, reports), strict=True)
        outcomes = gather(own)
        bandit_states = tuple(map(tell_bandit, self.cohorts, state.bandits, outcomes))
        key = jax.random.fold_in(state.key, REBIRTH)
        lifetimes = tuple(
            replace_ended(
                cohort, self.config, bandit, lifetime, outcome.lives,
                lifetime_keys(cohort, key, state.meta_step),
            )
            for cohort, bandit, lifetime, outcome in zip(
                self.cohorts, bandit_states, lifetimes, own, strict=True
            )
        )  # fmt: skip
        after = state._replace(
            meta_step=state.meta_step + 1,
            rule_params=optax.apply_updates(state.rule_params, updates),
            meta_opt_state=meta_opt_state,
            lifetimes=lifetimes,
            bandits=bandit_states,
        )
        return after, step_metrics(self.cohorts, outcomes, grads)


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
