"""Whether predictions can be found: the return's gradient of the y_hat head, and that they are.

At the published settings that gradient drowns: the head is pushed as hard by its regularisers, and
ten thousand times less than the pi_hat head by the return.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import unbounded

from metatrain.engine import Engine
from metatrain.presets import PRESETS
from metatrain.validation import Validation
from metatrain.window import window_loss

QUICK = replace(PRESETS["quick"], envs=("long",), lifetimes=8)


def pushes(config):
    """Norms at birth: of the y_hat and pi_hat heads' return gradients, and of the regularisers' on
    the y_hat head; means over lives of `long`."""
    engine = Engine(config.rule, config, devices=jax.devices()[:1], num_chunks=1)
    state = engine.init(jax.random.key(0))
    keys = (jax.random.split(jax.random.key(1), config.lifetimes),)

    def parts(eta):
        _, (_, reports) = window_loss(
            config.rule, config, engine.cohorts, eta, state.lifetimes, keys, unbounded(config, keys)
        )
        loss = reports[0].loss
        entropy = -config.prediction_entropy_cost * loss.prediction_entropy
        regularisers = entropy + config.y_hat_cost * loss.penalties["y_hat"]
        return jnp.stack([jnp.mean(loss.policy_gradient), jnp.mean(regularisers)])

    jacobian = jax.jit(jax.jacrev(parts))(state.rule_params)
    of_return, of_regularisers = (jax.tree.map(lambda x, i=i: x[i], jacobian) for i in range(2))
    return tuple(
        float(optax.global_norm(x))
        for x in (of_return["y_hat"], of_return["pi_hat"], of_regularisers["y_hat"])
    )


def test_the_return_is_heard_by_the_y_hat_head():
    y_hat, pi_hat, regularisers = pushes(QUICK)
    assert y_hat > 3e-4 * pi_hat
    assert y_hat > 500 * regularisers


@pytest.mark.slow
def test_predictions_are_found():
    """`short` and `long` for 400 meta-steps: chains longer than a trajectory are then solved, which
    needs predictions; a 20-step rule gets about .3 there."""
    config = replace(PRESETS["quick"], envs=("short", "long"), lifetimes=40)
    engine = Engine(config.rule, config)
    state, _ = engine.run(engine.init(jax.random.key(0)), 400)
    _, figures = Validation(config.rule, config, engine.cohorts)(state.selection.average)
    assert figures["long"]["return_beyond"] > 0.7
    assert figures["long"]["prediction_information"] > 0.005
    assert np.isfinite(figures["short"]["reward_free_entropy"])
