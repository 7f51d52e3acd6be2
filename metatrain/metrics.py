"""What meta-training reports: sums kept on the device between two log lines, then one JSON line."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from metatrain.bandit import BanditState, log_probabilities
from metatrain.config import MetaTrainConfig
from metatrain.outer_objective import LossParts


class EnvironmentMetrics(NamedTuple):
    """Sums over the meta-steps and lifetimes of each environment since the last log line."""

    return_sum: Float[Array, "E"]  # of finished episodes, undiscounted
    episodes: Float[Array, "E"]
    reward_sum: Float[Array, "E"]
    late_return_sum: Float[Array, "E"]  # of episodes in the last tenth of a life
    late_episodes: Float[Array, "E"]
    beyond_return_sum: Float[Array, "E"]  # of these, in lives whose episodes can outlast T steps
    beyond_episodes: Float[Array, "E"]
    final_return_sum: Float[Array, "E"]  # final returns of lives that ended
    lives_ended: Float[Array, "E"]
    lives_deterministic: Float[Array, "E"]  # of these, ended by the entropy guard
    lives_not_finite: Float[Array, "E"]  # windows of a life whose share of the gradient was zeroed
    policy_entropy: Float[Array, "E"]  # sums of means over lifetimes
    prediction_entropy: Float[Array, "E"]
    share_median: Float[Array, "E"]  # sums of medians over lifetimes (metatrain/shares.py)
    share_largest: Float[Array, "E"]  # sums of the largest


class Metrics(NamedTuple):
    """Sums over the meta-steps since the last log line."""

    environments: tuple[EnvironmentMetrics, ...]  # per cohort
    loss: LossParts  # sums of means
    gradient_norm: Float[Array, ""]  # sum of the finite ones
    skipped: Float[Array, ""]  # non-finite meta-gradients
    meta_steps: Float[Array, ""]


def zero_metrics(num_environments: tuple[int, ...], penalties: Iterable[str]) -> Metrics:
    """Before the first meta-step; `num_environments` per cohort, penalties by name."""
    zero = jnp.float32(0.0)
    return Metrics(
        environments=tuple(
            EnvironmentMetrics(*(jnp.zeros((n,), jnp.float32),) * len(EnvironmentMetrics._fields))
            for n in num_environments
        ),
        loss=LossParts(zero, zero, zero, zero, {name: zero for name in penalties}),
        gradient_norm=zero,
        skipped=zero,
        meta_steps=zero,
    )


def add(total: Metrics, step: Metrics) -> Metrics:
    """The sums with one meta-step more."""
    return jax.tree.map(jnp.add, total, step)


def as_record(
    metrics: Metrics,
    bandits: tuple[BanditState, ...],
    names: tuple[tuple[str, ...], ...],
    config: MetaTrainConfig,
    meta_step: int,
) -> dict[str, Any]:
    """One log line, timings aside; None where nothing was there to average."""
    metrics, bandits = jax.device_get((metrics, bandits))
    steps = max(float(metrics.meta_steps), 1.0)
    record: dict[str, Any] = {
        "meta_step": meta_step,
        "interactions": meta_step * config.interactions_per_meta_step,
        "gradient_norm": _ratio(metrics.gradient_norm, metrics.meta_steps - metrics.skipped),
        "skipped": int(metrics.skipped),
        "loss": _of_loss(metrics.loss, config, steps),
    }
    per_env: dict[str, dict[str, Any]] = {}
    for cohort_names, env, bandit in zip(names, metrics.environments, bandits, strict=True):
        log_probs = log_probabilities(bandit, config.bandit_temperature, config.bandit_exploration)
        for i, name in enumerate(cohort_names):
            own = jax.tree.map(lambda x, i=i: x[i], env)
            earning = config.lifetimes_of(name) - config.reward_free_of(name)
            figures = _of_environment(own, config, earning, steps)
            arms = [round(float(p), 6) for p in np.exp(np.asarray(log_probs[i]))]
            per_env[name] = {**figures, "bandit": arms}
    # In the order of the config, whatever the cohorts.
    record["environments"] = {name: per_env[name] for name in config.envs}
    record["return"] = {name: per_env[name]["return"] for name in config.envs}
    return record


def _of_loss(loss: LossParts, config: MetaTrainConfig, steps: float) -> dict[str, float | None]:
    parts = loss._asdict()
    squares = parts.pop("penalties")
    parts |= {f"{name}_square": squares[name] for name in config.penalty_costs}
    return {name: _finite(x / steps) for name, x in parts.items()}


def _of_environment(
    env: EnvironmentMetrics, config: MetaTrainConfig, lifetimes: int, steps: float
) -> dict[str, Any]:
    """One environment's figures; leaves of `env` are its own sums over `steps` meta-steps."""
    transitions = steps * lifetimes * config.num_envs * config.num_steps * config.num_updates
    uniform = np.log(max(config.rule.heads(1).prediction, 1))
    return {
        "return": _ratio(env.return_sum, env.episodes),
        "late_return": _ratio(env.late_return_sum, env.late_episodes),
        "late_return_within": _ratio(
            env.late_return_sum - env.beyond_return_sum, env.late_episodes - env.beyond_episodes
        ),
        "late_return_beyond": _ratio(env.beyond_return_sum, env.beyond_episodes),
        "final_return": _ratio(env.final_return_sum, env.lives_ended),
        "reward_per_step": _finite(env.reward_sum / transitions),
        "policy_entropy": _finite(env.policy_entropy / steps),
        "prediction_entropy": _finite(env.prediction_entropy / steps),
        "prediction_information": _finite(uniform - env.prediction_entropy / steps),
        "lives_ended": int(env.lives_ended),
        "lives_deterministic": int(env.lives_deterministic),
        "lives_not_finite": int(env.lives_not_finite),
        "share_median": _finite(env.share_median / steps),
        "share_largest": _finite(env.share_largest / steps),
    }


def _finite(x: Any) -> float | None:
    return float(x) if np.isfinite(x) else None


def _ratio(numerator: Any, denominator: Any) -> float | None:
    return _finite(numerator / denominator) if denominator > 0 else None
