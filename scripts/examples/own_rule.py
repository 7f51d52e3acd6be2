"""An update rule of one's own, meta-trained and then used like any other:

    cd scripts/examples
    metatrain --preset quick --rule own_rule:TwoDiscounts --meta-steps 200 --run-dir runs/discounts
    metatest --rule runs/discounts/rule.safetensors --envs short --baselines a2c \\
        --run-dir runs/discounts-test
"""

import jax
import jax.numpy as jnp

import lpg


class TwoDiscounts:
    """REINFORCE by a learned mixture of a near-sighted and a far-sighted return.

    eta is a dictionary of three numbers; any tree of float32 arrays would do.
    """

    def init(self, key):
        """eta at birth."""
        return {"discounts": jnp.array([0.0, 4.0]), "weight": jnp.float32(0.5)}

    def heads(self, num_actions):
        """What the agent must put out: a policy's logits and nothing else."""
        return lpg.Heads(logits=num_actions)

    def targets(self, rule_params, inputs):
        """How strongly to reinforce each action, [T, rows]; the only place where eta enters."""
        discounts = jax.nn.sigmoid(rule_params["discounts"])[:, None]  # [2, 1]

        def back(following, x):
            reward, goes_on = x
            total = reward[None] + discounts * goes_on[None] * following
            return total, total

        start = jnp.zeros((2, inputs.reward.shape[1]))
        steps = inputs.reward, inputs.not_done
        _, returns = jax.lax.scan(back, start, steps, reverse=True)  # [T, 2, rows]
        weight = jax.nn.sigmoid(rule_params["weight"])
        return weight * returns[:, 0] + (1 - weight) * returns[:, 1]

    def loss(self, outputs, trajectory, targets, hypers):
        """What the agent's step makes smaller, with the targets constant."""
        log_prob = lpg.action_log_prob(outputs.logits[:-1], trajectory.action)
        return -jnp.mean(log_prob * targets)
