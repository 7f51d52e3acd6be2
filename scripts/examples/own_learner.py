"""A learner of one's own, by `lpg` alone: PPO (Schulman et al. 2017), to be compared with others.

cd scripts/examples && metatest --rule own_learner:PPO --baselines a2c --envs Catch-bsuite \\
    --run-dir runs/ppo
"""

import jax
import jax.numpy as jnp
import optax

import lpg
from lpg.learner import LearnerState

EPOCHS, MINIBATCHES, CLIP, LAM, ENTROPY = 4, 4, 0.2, 0.95, 0.01


class PPO:
    num_trajectories = fresh = 1  # one trajectory an update, a new one each time
    bootstraps = True  # trajectories tell V where a time limit cut an episode

    def heads(self, num_actions):
        return lpg.Heads(logits=num_actions, value=1)

    def init(self, key, agent):
        return LearnerState(agent, own=key)  # agent: theta and its optimiser's state

    def condition(self, state):
        return None  # the network is told nothing but observations

    def trace(self, state):
        return {}  # no curves of its own in the report

    def learn(self, body, optimizer, state, trajectories, hypers):
        """theta to theta'; `body.outputs(theta, observation)` has logits and value."""
        (seen,), (params, opt_state) = trajectories, state.agent
        value = body.outputs(params, seen.observation).value[..., 0]  # [T + 1, B]
        advantage = self.advantage(seen, value, hypers.gamma)
        of_a_step = (seen.observation[:-1], seen.action, seen.behaviour_log_prob, advantage)
        data = (*of_a_step, advantage + value[:-1])
        data = jax.tree.map(lambda x: x.reshape((-1, *x.shape[2:])), data)  # [T * B, ...]

        def loss(params, observation, action, log_mu, advantage, target):
            outputs = body.outputs(params, observation)
            log_pi = jax.nn.log_softmax(outputs.logits)
            ratio = jnp.exp(lpg.action_log_prob(outputs.logits, action) - log_mu)
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
            followed = jnp.clip(ratio, 1 - CLIP, 1 + CLIP)
            gain = jnp.minimum(ratio * advantage, followed * advantage)
            entropy = -jnp.sum(jnp.exp(log_pi) * log_pi, axis=-1)
            error = (target - outputs.value[..., 0]) ** 2
            return jnp.mean(-gain + hypers.prediction_cost * error / 2 - ENTROPY * entropy)

        def step(carry, chosen):
            params, opt_state = carry
            grads = jax.grad(loss)(params, *jax.tree.map(lambda x: x[chosen], data))
            direction, opt_state = optimizer.update(grads, opt_state, params)
            scaled = optax.tree.scale(-hypers.learning_rate, direction)
            return (optax.apply_updates(params, scaled), opt_state), None

        key, *keys = jax.random.split(state.own, 1 + EPOCHS)
        size = seen.action.size // MINIBATCHES
        order = [jax.random.permutation(k, seen.action.size)[: size * MINIBATCHES] for k in keys]
        order = jnp.concatenate(order).reshape(-1, size)
        (params, opt_state), _ = jax.lax.scan(step, (params, opt_state), order)
        return LearnerState(state.agent._replace(params=params, opt_state=opt_state), own=key)

    def advantage(self, seen, value, gamma):
        """GAE; where a time limit cut, V there stands for what could still have been earned."""
        reward, goes_on = seen.reward + gamma * seen.final_value, 1.0 - seen.done
        error = reward + gamma * goes_on * value[1:] - value[:-1]

        def back(following, x):
            error, goes_on = x
            total = error + gamma * LAM * goes_on * following
            return total, total

        return jax.lax.scan(back, jnp.zeros_like(error[0]), (error, goes_on), reverse=True)[1]
