"""Who gets how many lifetimes, and how long they last."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import TINY

from metatrain.cohort import build_cohorts
from metatrain.engine import Engine
from metatrain.metrics import as_record, zero_metrics

UNEVEN = replace(TINY, lifetimes=12, shares=(3, 1, 1, 1))  # chains of tables share a cohort


def test_shares_are_in_the_order_of_the_environments():
    assert [UNEVEN.lifetimes_of(name) for name in UNEVEN.envs] == [6, 2, 2, 2]
    assert [TINY.lifetimes_of(name) for name in TINY.envs] == [2, 2, 2, 2]
    by_name = {c.names: c.num_lifetimes for c in build_cohorts(UNEVEN.rule, UNEVEN)}
    assert by_name == {("sparse",): 6, ("short", "long_noisy"): 4, ("distractor",): 2}


def test_engine_with_shares_has_these_lifetimes():
    engine = Engine(UNEVEN.rule, UNEVEN, devices=jax.devices()[:1])
    assert [len(x.arm) for x in engine.like().lifetimes] == [6, 4, 2]
    first = [cohort.first_index for cohort in engine.cohorts]
    assert first == [0, 6, 10]


def test_reward_per_step_counts_the_lives_that_earn_in_its_environment():
    cohorts = build_cohorts(UNEVEN.rule, UNEVEN)
    engine = Engine(UNEVEN.rule, UNEVEN, cohorts, devices=jax.devices()[:1])
    metrics = zero_metrics(tuple(len(c.names) for c in cohorts), UNEVEN.penalty_costs)
    steps_of_a_life = UNEVEN.num_envs * UNEVEN.num_steps * UNEVEN.num_updates
    one_each = tuple(
        env._replace(
            reward_sum=jnp.full(
                len(c.names), float((c.lifetimes_per_env - c.reward_free_lives) * steps_of_a_life)
            )
        )
        for c, env in zip(cohorts, metrics.environments, strict=True)
    )
    metrics = metrics._replace(environments=one_each, meta_steps=jnp.float32(1.0))
    bandits = jax.tree.map(
        lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(engine.init, jax.random.key(0)).bandits
    )
    record = as_record(metrics, bandits, engine.names, UNEVEN, 1)
    per_step = [record["environments"][name]["reward_per_step"] for name in UNEVEN.envs]
    np.testing.assert_allclose(per_step, 1.0)


def test_no_life_lasts_longer_than_asked():
    whole, short = (
        build_cohorts(TINY.rule, replace(TINY, lifetime_scale=0.01, longest_lifetime=longest))
        for longest in (None, 500)
    )
    windows = [np.concatenate([c.lifetime_windows for c in cs]).tolist() for cs in (whole, short)]
    # 1% of 3M, 1M, 1M and 2M steps, 40 of which are a window.
    assert windows == [[750, 250, 250, 500], [500, 250, 250, 500]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shares": (1, 2)}, "each of the 4 environments"),
        ({"shares": (1, 1, 1, 0)}, "positive whole number"),
        ({"shares": (2, 1, 1, 1)}, "multiple of the sum of shares, 5"),
        ({"envs": ("short", "long"), "shares": (1, 3)}, "one cohort and must have equal shares"),
        ({"longest_lifetime": 0}, "longest_lifetime must be at least 1"),
    ],
)
def test_shares_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)
