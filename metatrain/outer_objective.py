"""The outer objective: A2C at theta_K with a critic of each lifetime's own.

Source: Oh et al. 2020, Eq. 4 and B.1. The critic only reduces the variance of the meta-gradient;
the rule never sees it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from lpg.agent import Agent
from lpg.heads import AgentOutputs, action_log_prob, entropy
from lpg.losses.returns import bootstrapped, generalised_advantage, lambda_returns
from lpg.trajectory import Trajectory


class CriticState(NamedTuple):
    """A lifetime's own critic, of which the rule sees nothing."""

    params: Any  # agent-shaped network or table with a single value head
    opt_state: Any  # Adam's, or empty for a table


class AdvantageStats(NamedTuple):
    """Running moments of the outer advantage of one lifetime."""

    mean: Float[Array, "*L"]
    mean_square: Float[Array, "*L"]
    weight: Float[Array, "*L"]  # 1 - decay^n, which debiases the two


class Costs(NamedTuple):
    """Weights of the outer loss's regularisers."""

    policy_entropy: Float[Array, ""]  # beta_0, the lifetime's own
    prediction_entropy: float  # beta_1
    penalties: dict[str, float]  # beta_2, beta_3 and ours, by name


class LossParts(NamedTuple):
    """One lifetime's outer loss; `total` is minimised."""

    total: Float[Array, "*L"]
    policy_gradient: Float[Array, "*L"]
    policy_entropy: Float[Array, "*L"]
    prediction_entropy: Float[Array, "*L"]
    penalties: dict[str, Float[Array, "*L"]]  # not yet weighed


def init_advantage_stats() -> AdvantageStats:
    """Before the first batch, with a weight of zero."""
    return AdvantageStats(jnp.float32(0.0), jnp.float32(0.0), jnp.float32(0.0))


def episode_discount(trajectory: Trajectory, gamma: Float[Array, ""]) -> Float[Array, "T B"]:
    """gamma where the episode goes on, 0 where it ended (a time limit ends it as well; what V says
    there is `bootstrapped`)."""
    return gamma * (1.0 - trajectory.done.astype(trajectory.reward.dtype))


def critic_values(critic: Agent, params: Any, trajectory: Trajectory) -> Float[Array, "T1 B"]:
    """V of all T + 1 observations."""
    return critic.apply(params, trajectory.observation)[..., 0]


def critic_step(
    critic: Agent,
    optimizer: optax.GradientTransformation,
    state: CriticState,
    trajectory: Trajectory,
    gamma: Float[Array, ""],
    lam: float,
    table_step: float,
) -> CriticState:
    """Move the critic towards lambda-returns on one trajectory.

    A table moves each visited state by `table_step` times its mean error; a network takes one
    Adam step on half the mean squared error.
    """
    value = critic_values(critic, state.params, trajectory)
    discount = episode_discount(trajectory, gamma)
    reward = bootstrapped(trajectory.reward, trajectory.final_value, gamma)
    target = lambda_returns(reward, discount, value, lam)
    if critic.sparse:
        cells = trajectory.observation[:-1].reshape(-1)
        errors = (target - value[:-1]).reshape(-1)
        visits = jnp.zeros(state.params.shape[:1], jnp.float32).at[cells].add(1.0)
        # Dividing per visit keeps this a scatter over visited rows, with no pass over the table.
        step = table_step * errors / visits[cells]
        return state._replace(params=state.params.at[cells, 0].add(step))

    def loss(params: Any) -> Array:
        error = target - critic_values(critic, params, trajectory)[:-1]
        return 0.5 * jnp.mean(error**2)

    updates, opt_state = optimizer.update(jax.grad(loss)(state.params), state.opt_state)
    return CriticState(optax.apply_updates(state.params, updates), opt_state)


def normalised_advantage(
    stats: AdvantageStats, advantage: Float[Array, "T B"], decay: float
) -> tuple[AdvantageStats, Float[Array, "T B"]]:
    """(A - mean) / std by running moments that include this batch."""
    new = AdvantageStats(
        mean=decay * stats.mean + (1 - decay) * jnp.mean(advantage),
        mean_square=decay * stats.mean_square + (1 - decay) * jnp.mean(advantage**2),
        weight=decay * stats.weight + (1 - decay),
    )
    mean, mean_square = new.mean / new.weight, new.mean_square / new.weight
    std = jnp.sqrt(jnp.maximum(mean_square - mean**2, 0.0))
    return new, (advantage - mean) / (std + 1e-6)


def outer_advantage(
    critic: Agent, params: Any, trajectory: Trajectory, gamma: Float[Array, ""], lam: float
) -> Float[Array, "T B"]:
    """GAE by the lifetime's critic and its own discount factor."""
    value = critic_values(critic, params, trajectory)
    reward = bootstrapped(trajectory.reward, trajectory.final_value, gamma)
    return generalised_advantage(reward, episode_discount(trajectory, gamma), value, lam)


def outer_loss(
    outputs: AgentOutputs,
    trajectory: Trajectory,
    advantage: Float[Array, "T B"],
    penalties: dict[str, Float[Array, ""]],
    costs: Costs,
) -> LossParts:
    """Eq. 4 with its sign turned to a loss; `advantage` is a constant.

    Entropies are those at theta_K on the trajectory that theta_K generated; penalties are means
    over the K updates' targets, as many as there are costs for.
    """
    log_prob = action_log_prob(outputs.logits[:-1], trajectory.action)
    policy_gradient = -jnp.mean(log_prob * jax.lax.stop_gradient(advantage))
    policy_entropy = jnp.mean(entropy(outputs.logits[:-1]))
    # A rule without predictions has none to keep uncertain.
    has_prediction = outputs.prediction.shape[-1] > 0
    prediction_entropy = (
        jnp.mean(entropy(outputs.prediction[:-1]))
        if has_prediction
        else jnp.zeros_like(policy_entropy)
    )
    total = (
        policy_gradient
        - costs.policy_entropy * policy_entropy
        - costs.prediction_entropy * prediction_entropy
    )
    for name, cost in costs.penalties.items():
        total = total + cost * penalties[name]
    return LossParts(total, policy_gradient, policy_entropy, prediction_entropy, penalties)
