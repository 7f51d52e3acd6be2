"""Fresh lives under the frozen rule, every so many meta-steps: which eta is worth keeping.

A rule may get worse while its training goes on: predictions saturate, policies collapse early.
So a few lives of every training environment, all arms of its bandit and the same worlds each time,
are lived whole under the running mean of eta, and the best mean is what a run exports.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lpg.heads import AgentOutputs, action_log_prob, entropy
from lpg.platform import traced_for
from lpg.rule import RuleParams, UpdateRule
from lpg.update import AgentState
from metatrain.cohort import Cohort
from metatrain.config import MetaTrainConfig
from metatrain.devices.mesh import REPLICATED, gather, local_slots, make_mesh, platform_of
from metatrain.inner_update import updated_agents
from metatrain.lifetime import LifetimeState, birth_with, final_return, grow_older, policy
from metatrain.shares import unmeasured
from metatrain.window import act
from metatrain.window_end import local_environments

BIRTHS, UPDATES = 1, 2  # streams of keys
COLLAPSED = 0.01  # probability of the right action below which a life has given it up
RESETS = 16  # episodes' starts at which that is looked up


class Ends(NamedTuple):
    """How lives of one cohort ended, leading axis L."""

    final_return: Float[Array, "L"]  # normalised: 0 random, 1 best
    policy_entropy: Float[Array, "L"]
    prediction_entropy: Float[Array, "L"]  # 0 for rules without predictions
    collapsed: Bool[Array, "L"]  # deterministic on a wrong action at the start of some episode
    beyond: Bool[Array, "L"]  # its episodes can be longer than a trajectory


class Validation:
    """Lives of `validation_seeds` worlds of each environment with every arm, and as many in which
    nothing is earned, with the middle arm."""

    def __init__(self, rule: UpdateRule, config: MetaTrainConfig, cohorts: tuple[Cohort, ...]):
        self.rule = rule
        # One update a window: lives here are counted in updates.
        self.config = replace(
            config, num_updates=1, unearned_cost=0.0, reward_offsets=(), remat=False
        )
        self.cohorts = tuple(map(self._cohort, cohorts))
        mesh = make_mesh(self.cohorts)
        live = traced_for(platform_of(mesh), self._live)
        shared = jax.shard_map(
            live, mesh=mesh, in_specs=REPLICATED, out_specs=REPLICATED, check_vma=False
        )
        self._program: Any = jax.jit(shared)

    def _cohort(self, cohort: Cohort) -> Cohort:
        """Environment by environment: arm by arm its seeds, then the seeds without rewards."""
        updates = np.full(len(cohort.names), self.config.validation_updates, np.int32)
        lives = (len(cohort.prediction_costs) + 1) * self.config.validation_seeds
        return replace(cohort, lifetimes_per_env=lives, lifetime_windows=updates)

    def compile(self) -> None:
        """Ahead of the first call, for those who have a device only later."""
        like = jax.eval_shape(self.rule.init, jax.random.key(0))
        self._program = self._program.lower(like).compile()

    def __call__(self, rule_params: RuleParams) -> tuple[float, dict[str, dict[str, Any]]]:
        """The mean over environments and arms of normalised final returns, and the figures of each
        environment."""
        ends = jax.device_get(self._program(jax.device_get(rule_params)))
        figures = {
            name: self._figures(cohort, Ends(*leaves))
            for cohort, cohort_ends in zip(self.cohorts, ends, strict=True)
            for name, *leaves in zip(
                cohort.names, *(np.split(x, len(cohort.names)) for x in cohort_ends), strict=True
            )
        }
        # As float32, in which the engine's state keeps the best one.
        return float(np.float32(np.mean([x["return"] for x in figures.values()]))), figures

    def _figures(self, cohort: Cohort, ends: Ends) -> dict[str, Any]:
        seeds = self.config.validation_seeds
        earning = jax.tree.map(lambda x: x[:-seeds], ends)
        returns = earning.final_return
        uniform = np.log(max(self.rule.heads(1).prediction, 1))

        def mean(x: Any) -> float | None:
            return float(np.mean(x)) if len(x) else None

        return {
            "return": mean(returns),
            "return_by_arm": returns.reshape(-1, seeds).mean(axis=1).tolist(),
            "return_within": mean(returns[~earning.beyond]),
            "return_beyond": mean(returns[earning.beyond]),
            "collapsed": mean(earning.collapsed) if knows_right(cohort) else None,
            "policy_entropy": mean(earning.policy_entropy),
            "prediction_information": float(uniform - np.mean(earning.prediction_entropy)),
            "reward_free_entropy": mean(ends.policy_entropy[-seeds:]),
        }

    def _live(self, rule_params: RuleParams) -> tuple[Ends, ...]:
        """The whole lives of this device's share; how those of all devices ended."""
        key = jax.random.key(self.config.seed)
        lifetimes = tuple(self._births(c, jax.random.fold_in(key, BIRTHS)) for c in self.cohorts)

        def keys(i: Array) -> tuple[Array, ...]:
            now = jax.random.fold_in(jax.random.fold_in(key, UPDATES), i)
            return tuple(self._keys(cohort, now) for cohort in self.cohorts)

        lifetimes = lived(self.rule, self.config, self.cohorts, rule_params, lifetimes, keys)
        return gather(tuple(map(self._ends, self.cohorts, lifetimes)))

    def _seed_and_arm(self, cohort: Cohort) -> tuple[Int[Array, "L"], Int[Array, "L"]]:
        """Of this device's lives; the arm after the last stands for the lives without rewards."""
        slot = local_slots(cohort) % cohort.lifetimes_per_env
        return slot % self.config.validation_seeds, slot // self.config.validation_seeds

    def _keys(self, cohort: Cohort, key: Array) -> Array:
        """One a life; the same for all arms, which so meet the same worlds."""
        seed, _ = self._seed_and_arm(cohort)
        world = local_environments(cohort) * self.config.validation_seeds + seed
        return jax.vmap(lambda i: jax.random.fold_in(key, i))(world)

    def _births(self, cohort: Cohort, key: Array) -> LifetimeState:
        _, arm = self._seed_and_arm(cohort)
        num_arms = len(cohort.prediction_costs)
        arm = jnp.where(arm == num_arms, num_arms // 2, arm)
        birth = jax.vmap(partial(birth_with, cohort, self.config))
        return birth(self._keys(cohort, key), local_environments(cohort), arm, self._earns(cohort))

    def _earns(self, cohort: Cohort) -> Bool[Array, "L"]:
        return self._seed_and_arm(cohort)[1] < len(cohort.prediction_costs)

    def _ends(self, cohort: Cohort, lifetimes: LifetimeState) -> Ends:
        environment = local_environments(cohort)
        low, high = (
            jnp.asarray(x)[environment] for x in (cohort.random_return, cohort.best_return)
        )
        returns = jax.vmap(lambda life: final_return(self.config, life, life.late))(lifetimes)
        outputs = jax.vmap(partial(last_outputs, cohort))(lifetimes)
        length = jnp.asarray(lifetimes.env_params.max_steps_in_episode)
        return Ends(
            final_return=jnp.clip((returns - low) / (high - low), 0.0, 1.0),
            policy_entropy=mean_entropy(outputs.logits),
            prediction_entropy=mean_entropy(outputs.prediction),
            collapsed=jax.vmap(partial(_is_collapsed, cohort))(lifetimes),
            beyond=length > self.config.num_steps,
        )


def lived(
    rule: UpdateRule,
    config: MetaTrainConfig,
    cohorts: tuple[Cohort, ...],
    rule_params: RuleParams,
    lifetimes: tuple[LifetimeState, ...],
    keys: Callable[[Array], tuple[Array, ...]],
) -> tuple[LifetimeState, ...]:
    """The lifetimes `validation_updates` later, under the frozen rule, a window an update.

    Args:
        keys: of an update's index, per cohort those of its lives, [L].
    """
    shares = unmeasured((jnp.float32(jnp.inf),) * len(lifetimes), tuple(x.age for x in lifetimes))

    def update(i: Array, lifetimes: tuple[LifetimeState, ...]) -> tuple[LifetimeState, ...]:
        agents, trajectories = zip(*((x.agent, x.trajectory) for x in lifetimes), strict=True)
        agents, _ = updated_agents(
            rule, config, cohorts, rule_params, lifetimes, agents, trajectories, shares
        )
        return tuple(
            jax.vmap(lambda *args, c=cohort: older(c, config, *args))(*args)
            for cohort, *args in zip(cohorts, lifetimes, agents, keys(i), strict=True)
        )

    return jax.lax.fori_loop(0, config.validation_updates, update, lifetimes)


def older(
    cohort: Cohort, config: MetaTrainConfig, lifetime: LifetimeState, agent: AgentState, key: Array
) -> LifetimeState:
    """The lifetime with its updated agent, a window older."""
    state, trajectory, summary = act(
        cohort, config, lifetime, agent, lifetime.critic, lifetime.rollout, key
    )
    lifetime = grow_older(lifetime, summary)
    return lifetime._replace(agent=agent, rollout=state, trajectory=trajectory)


def last_outputs(cohort: Cohort, lifetime: LifetimeState) -> AgentOutputs:
    """Of the agent as it is on the last trajectory."""
    body = cohort.body(lifetime.env_params)
    return body.outputs(lifetime.agent.params, lifetime.trajectory.observation)


def mean_entropy(logits: Float[Array, "L T B n"]) -> Float[Array, "L"]:
    """Of each life, in nats; 0 where there are no logits."""
    if logits.shape[-1] == 0:
        return jnp.zeros(len(logits))
    return jnp.mean(entropy(logits), axis=(1, 2))


def knows_right(cohort: Cohort) -> bool:
    """Whether the environment says which action its states call for: `right_action(state)`."""
    return hasattr(cohort.env, "right_action")


def _is_collapsed(cohort: Cohort, lifetime: LifetimeState) -> Bool[Array, ""]:
    """Whether the right action is as good as never taken at the start of some episode.

    False where the environment knows of none.
    """
    if not knows_right(cohort):
        return jnp.array(False)
    keys = jax.random.split(jax.random.key(0), RESETS)
    observation, state = jax.vmap(cohort.env.reset_env, in_axes=(0, None))(
        keys, lifetime.env_params
    )
    logits = policy(cohort, lifetime.agent.params, lifetime.env_params)(observation)
    probability = jnp.exp(action_log_prob(logits, cohort.env.right_action(state)))
    return jnp.min(probability) < COLLAPSED
