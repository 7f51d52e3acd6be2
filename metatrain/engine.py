"""The engine: meta-steps between two log lines as one jitted program over one pytree of state."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, Int

from lpg.platform import traced_for
from lpg.rule import RuleParams, UpdateRule
from metatrain import bandit as bandits
from metatrain.bandit import BanditState
from metatrain.cohort import Cohort, build_cohorts
from metatrain.config import MetaTrainConfig
from metatrain.devices.chunks import choose_chunks, into_chunks, out_of_chunks
from metatrain.devices.mesh import (
    REPLICATED,
    SHARED,
    compiler_options,
    describe,
    gather,
    make_mesh,
    place,
    platform_of,
    total,
)
from metatrain.initial_rule import InitialRule
from metatrain.lifetime import LifetimeState, birth, stagger
from metatrain.meta_optimizer import meta_optimizer
from metatrain.meta_steps import MetaSteps
from metatrain.metrics import Metrics, add, zero_metrics
from metatrain.selection import Selection, averaged, chosen, nothing_selected
from metatrain.shares import Share, bound_of, typical_after, typical_at_first, unmeasured
from metatrain.window import CohortReport, window_loss
from metatrain.window_end import (
    grow,
    lifetime_keys,
    local_earns,
    local_environments,
    replace_ended,
    step_metrics,
    tell_bandit,
)

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
    selection: Selection  # which eta the run exports
    typical_shares: tuple[Float[Array, "K"], ...]  # per cohort, of the targets' cotangents


# How the state lies on the devices: lifetimes are shared, all else is on each.
SPECS = EngineState(
    key=REPLICATED,
    meta_step=REPLICATED,
    rule_params=REPLICATED,
    meta_opt_state=REPLICATED,
    lifetimes=SHARED,
    bandits=REPLICATED,
    selection=REPLICATED,
    typical_shares=REPLICATED,
)


class Windows(NamedTuple):
    """What one window of every lifetime comes to, per cohort."""

    lifetimes: tuple[LifetimeState, ...]  # after it
    reports: tuple[CohortReport, ...]
    shares: tuple[Float[Array, "L K"], ...]  # of the meta-gradient, as metatrain/shares.py has it


class Engine:
    """Static parts (rule, config, cohorts), and what is done with a state: `init`, then `run`."""

    def __init__(
        self,
        rule: UpdateRule,
        config: MetaTrainConfig,
        cohorts: tuple[Cohort, ...] | None = None,
        devices: list[Any] | None = None,
        num_chunks: int | None = None,
    ):
        """
        Args:
            devices: by default all, or as many as share the lifetimes evenly.
            num_chunks: in which a device takes its lifetimes, one after the other; by default what
                `config.lifetimes_per_chunk` asks for, else what suits the device.

        Raises UnevenLifetimesError where devices or chunks cannot be equal.
        """
        self.rule = rule
        self.config = config
        self.cohorts = build_cohorts(rule, config) if cohorts is None else cohorts
        self.mesh = make_mesh(self.cohorts, devices)
        self.num_chunks = num_chunks or choose_chunks(
            config, self.cohorts, self.mesh.size, self.platform
        )
        self.meta_optimizer = meta_optimizer(config)
        shard = partial(jax.shard_map, mesh=self.mesh, check_vma=False)
        init = shard(traced_for(self.platform, self._init), in_specs=REPLICATED, out_specs=SPECS)
        run = shard(
            traced_for(self.platform, self._run),
            in_specs=(SPECS, REPLICATED),
            out_specs=(SPECS, REPLICATED),
        )
        self.init = jax.jit(init)
        self.run = MetaSteps(
            jax.jit(run, donate_argnums=0), self.like, compiler_options(self.platform)
        )
        self._choose = jax.jit(chosen, out_shardings=NamedSharding(self.mesh, REPLICATED))

    def start_from(self, state: EngineState, initial: InitialRule) -> EngineState:
        """A fresh state with eta and Adam that come from elsewhere."""

        def placed(tree: Any) -> Any:
            # Each its own copy: the state is donated, and a buffer can be given away once only.
            return place(jax.tree.map(lambda x: np.array(x), tree), self.mesh, REPLICATED)

        selection = nothing_selected(initial.rule_params)
        return state._replace(
            rule_params=placed(initial.rule_params),
            meta_opt_state=placed(initial.meta_opt_state),
            selection=placed(selection),
        )

    def select(self, state: EngineState, score: float) -> EngineState:
        """The state after its mean of eta validated at `score`."""
        selection = self._choose(state.selection, jnp.float32(score), state.meta_step)
        return state._replace(selection=selection)

    @property
    def program(self) -> jax.stages.Compiled:
        """What `run` calls, compiled ahead of time."""
        return self.run.compiled

    def place(self, state: EngineState) -> EngineState:
        """A restored state, laid over the devices; it may come from any number of them."""
        return place(state, self.mesh, SPECS)

    def like(self) -> EngineState:
        """The state's shapes, dtypes and places."""
        shapes = jax.eval_shape(self.init, jax.random.key(0))
        return describe(shapes, self.mesh, SPECS)

    @property
    def platform(self) -> str:
        """Of the mesh's devices, which need not be here: programs are chosen by it."""
        return platform_of(self.mesh)

    @property
    def names(self) -> tuple[tuple[str, ...], ...]:
        """Of the environments, cohort by cohort."""
        return tuple(cohort.names for cohort in self.cohorts)

    def _init(self, key: Array) -> EngineState:
        """Fresh rule and lifetimes of staggered ages."""
        rule_params = self.rule.init(jax.random.fold_in(key, RULE))
        bandit_states = tuple(
            bandits.init(len(c.names), len(c.prediction_costs)) for c in self.cohorts
        )
        birth_keys, age_keys = (
            lifetime_keys(self.cohorts, jax.random.fold_in(key, stream), jnp.int32(0))
            for stream in (FIRST_BIRTH, STAGGER)
        )
        lifetimes = []
        for cohort, bandit, birth_key, age_key in zip(
            self.cohorts, bandit_states, birth_keys, age_keys, strict=True
        ):
            make = partial(birth, cohort, self.config, bandit)
            born = jax.vmap(make)(birth_key, local_environments(cohort), local_earns(cohort))
            lifetimes.append(jax.vmap(stagger)(age_key, born))
        return EngineState(
            key=key,
            meta_step=jnp.int32(0),
            rule_params=rule_params,
            meta_opt_state=self.meta_optimizer.init(rule_params),
            lifetimes=tuple(lifetimes),
            bandits=bandit_states,
            selection=nothing_selected(rule_params),
            typical_shares=(typical_at_first(self.config.num_updates),) * len(self.cohorts),
        )

    def _run(
        self, state: EngineState, num_meta_steps: Int[Array, ""]
    ) -> tuple[EngineState, Metrics]:
        """`num_meta_steps` meta-steps (data, so that every length shares one program)."""

        def step(_: Array, carry: tuple[EngineState, Metrics]) -> tuple[EngineState, Metrics]:
            state, sums = carry
            state, metrics = self.meta_step(state)
            return state, add(sums, metrics)

        zero = zero_metrics(tuple(map(len, self.names)), self.config.penalty_costs)
        return jax.lax.fori_loop(0, num_meta_steps, step, (state, zero))

    def meta_step(self, state: EngineState) -> tuple[EngineState, Metrics]:
        """One window of every lifetime, Adam on eta, then births in place of the ended."""
        key = jax.random.fold_in(state.key, WINDOW)
        keys = lifetime_keys(self.cohorts, key, state.meta_step)
        bounds = tuple(bound_of(x, self.config.max_share) for x in state.typical_shares)
        grads, windows = self._gradient(state.rule_params, state.lifetimes, keys, bounds)
        # Each device's loss is its share of the mean, so the shares' gradients add up.
        grads = total(grads)
        updates, meta_opt_state = self.meta_optimizer.update(
            grads, state.meta_opt_state, state.rule_params
        )
        lifetimes, own = zip(*map(partial(grow, self.config), *windows), strict=True)
        outcomes = gather(own)
        bandit_states = tuple(map(tell_bandit, self.cohorts, state.bandits, outcomes))
        key = jax.random.fold_in(state.key, REBIRTH)
        keys = lifetime_keys(self.cohorts, key, state.meta_step)
        lifetimes = tuple(
            replace_ended(cohort, self.config, bandit, lifetime, outcome.lives, birth_keys)
            for cohort, bandit, lifetime, outcome, birth_keys in zip(
                self.cohorts, bandit_states, lifetimes, own, keys, strict=True
            )
        )
        rule_params = optax.apply_updates(state.rule_params, updates)
        meta_step = state.meta_step + 1
        after = state._replace(
            meta_step=meta_step,
            rule_params=rule_params,
            selection=averaged(state.selection, rule_params, self.config.average_decay, meta_step),
            meta_opt_state=meta_opt_state,
            lifetimes=lifetimes,
            bandits=bandit_states,
            typical_shares=tuple(
                typical_after(typical, outcome.share)
                for typical, outcome in zip(state.typical_shares, outcomes, strict=True)
            ),
        )
        return after, step_metrics(self.cohorts, outcomes, grads)

    def _gradient(
        self,
        rule_params: RuleParams,
        lifetimes: tuple[LifetimeState, ...],
        keys: tuple[Array, ...],
        bounds: tuple[Float[Array, "K"], ...],
    ) -> tuple[RuleParams, Windows]:
        """Of this device's share of the loss; chunks add up as devices do."""
        if self.num_chunks == 1:
            return self.window_gradient(rule_params, lifetimes, keys, bounds)

        def add_chunk(sums: RuleParams, chunk: tuple[Any, Any]) -> tuple[RuleParams, Windows]:
            grads, windows = self.window_gradient(rule_params, *chunk, bounds)
            return jax.tree.map(jnp.add, sums, grads), windows

        zero = jax.tree.map(jnp.zeros_like, rule_params)
        chunks = into_chunks((lifetimes, keys), self.num_chunks)
        grads, windows = jax.lax.scan(add_chunk, zero, chunks)
        return grads, out_of_chunks(windows)

    def window_gradient(
        self,
        rule_params: RuleParams,
        lifetimes: tuple[LifetimeState, ...],
        keys: tuple[Array, ...],
        bounds: tuple[Float[Array, "K"], ...],
    ) -> tuple[RuleParams, Windows]:
        """Of one chunk's share of the loss; and its lifetimes after the window, with reports."""

        def loss(rule_params: RuleParams, shares: tuple[Share, ...]) -> tuple[Array, Any]:
            return window_loss(
                self.rule, self.config, self.cohorts, rule_params, lifetimes, keys, shares
            )

        gradient = jax.grad(loss, argnums=(0, 1), has_aux=True)
        shares = unmeasured(bounds, keys)
        (grads, measured), (lifetimes, reports) = gradient(rule_params, shares)
        norms = tuple(share.tap.T for share in measured)
        return grads, Windows(lifetimes, reports, norms)


def skipped_in_a_row(state: EngineState) -> int:
    """Non-finite meta-gradients since the last finite one."""
    return int(state.meta_opt_state.notfinite_count)
