"""Train your own flax network on a gymnax environment with a learned rule, by `lpg` alone."""

import flax.linen as nn
import gymnax
import jax
import jax.numpy as jnp
import optax

import lpg

NUM_ENVS, NUM_STEPS, HYPERS = 64, 20, lpg.Hypers(*map(jnp.float32, (2e-3, 1.0, 0.995)))

env, env_params = gymnax.make("Catch-bsuite")
rule, rule_params = lpg.load("lpg-15")
heads = rule.heads(env.num_actions)  # logits of the policy and of the prediction vector y
optimizer = optax.adam(HYPERS.learning_rate)
network = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(64), nn.relu, nn.Dense(heads.total)])


def outputs(theta, board):
    flat = board.reshape((*board.shape[:-2], -1))
    return lpg.split_heads(heads, network.apply(theta, flat))


def env_step(theta, carry, key):
    observation, env_state = carry
    key, *keys = jax.random.split(key, NUM_ENVS + 1)
    logits = outputs(theta, observation).logits
    action = jax.random.categorical(key, logits)
    log_prob = lpg.action_log_prob(logits, action)
    step = jax.vmap(env.step, in_axes=(0, 0, 0, None))
    after, env_state, *rest, _ = step(jnp.stack(keys), env_state, action, env_params)
    return (after, env_state), (observation, action, *rest, log_prob)  # as in a Trajectory


def update(carry, key):
    theta, opt_state, world = carry
    keys = jax.random.split(key, NUM_STEPS)
    world, (observation, *rest) = jax.lax.scan(lambda c, k: env_step(theta, c, k), world, keys)
    trajectory = lpg.Trajectory(jnp.concatenate([observation, world[0][None]]), *rest)
    inputs = lpg.rule_inputs(outputs(theta, trajectory.observation), trajectory, HYPERS.gamma)
    targets = rule.targets(rule_params, inputs)

    def loss(theta):
        return rule.loss(outputs(theta, trajectory.observation), trajectory, targets, HYPERS)

    steps, opt_state = optimizer.update(jax.grad(loss)(theta), opt_state)
    mean_return = trajectory.reward.sum() / trajectory.done.sum()
    return (optax.apply_updates(theta, steps), opt_state, world), mean_return


@jax.jit
def train(key):
    world = jax.vmap(env.reset, in_axes=(0, None))(jax.random.split(key, NUM_ENVS), env_params)
    theta = network.init(key, world[0].reshape((NUM_ENVS, -1)))
    return jax.lax.scan(update, (theta, optimizer.init(theta), world), jax.random.split(key, 400))


_, returns = train(jax.random.key(0))
print("Catch, mean return of every 50 updates:", returns.reshape(-1, 50).mean(1).round(2))
