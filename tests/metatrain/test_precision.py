"""bfloat16 in the rule's LSTM leaves the meta-gradient's direction as it is."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from tiny import TINY, unbounded

from metatrain.engine import Engine
from metatrain.window import window_loss

# Tables and networks; enough environments that a rare action sampled otherwise does not decide.
CONFIG = replace(
    TINY, envs=("short", "distractor"), lifetimes=8, num_envs=16, num_steps=8, num_updates=3,
    rule=replace(TINY.rule, hidden_size=32),
)  # fmt: skip


def meta_gradients():
    """Of one window of lives five windows old, the rule's LSTM in float32 and in bfloat16."""
    engine = Engine(CONFIG.rule, CONFIG, devices=jax.devices()[:1])
    state = engine.init(jax.random.key(0))
    keys = tuple(random_keys(cohort) for cohort in engine.cohorts)

    def gradient(precision):
        rule = replace(CONFIG.rule, precision=precision)

        def loss(rule_params, lifetimes):
            shares = unbounded(CONFIG, keys)
            return window_loss(rule, CONFIG, engine.cohorts, rule_params, lifetimes, keys, shares)

        return jax.jit(jax.grad(loss, has_aux=True))

    single, half = gradient("float32"), gradient("bfloat16")
    lifetimes = state.lifetimes
    for _ in range(5):
        _, (lifetimes, _) = single(state.rule_params, lifetimes)
    return (
        np.asarray(ravel_pytree(program(state.rule_params, lifetimes)[0])[0], np.float64)
        for program in (single, half)
    )


def random_keys(cohort):
    return jax.random.split(jax.random.key(cohort.first_index), cohort.num_lifetimes)


@pytest.mark.slow
def test_within_three_degrees_of_float32():
    single, half = meta_gradients()
    cosine = single @ half / np.linalg.norm(single) / np.linalg.norm(half)
    assert 0.0 < np.degrees(np.arccos(cosine)) < 3.0
    assert abs(np.linalg.norm(half) / np.linalg.norm(single) - 1.0) < 0.03
