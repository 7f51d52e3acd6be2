"""One log line from sums that were made up, figure by figure."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import TINY

from metatrain import bandit
from metatrain.metrics import add, as_record, zero_metrics

NAMES = (("sparse",), ("short", "long_noisy"), ("distractor",))  # TINY's cohorts
ARMS = 9


def nothing():
    return zero_metrics(tuple(map(len, NAMES)), TINY.penalty_costs)


def with_figures(metrics, cohort, **sums):
    """The metrics with sums [E] of one cohort in place of zeros."""
    arrays = {name: jnp.asarray(x, jnp.float32) for name, x in sums.items()}
    environments = list(metrics.environments)
    environments[cohort] = environments[cohort]._replace(**arrays)
    return metrics._replace(environments=tuple(environments))


def record_of(metrics, config=TINY):
    bandits = tuple(bandit.init(len(names), ARMS) for names in NAMES)
    # A line of metrics.jsonl, which knows no NaN.
    return json.loads(json.dumps(as_record(metrics, bandits, NAMES, config, 3), allow_nan=False))


def test_an_environments_line_is_the_means_of_its_sums():
    """Two meta-steps of 2 lifetimes x 4 environments x 5 steps x 2 updates are 160 transitions."""
    metrics = with_figures(
        nothing()._replace(meta_steps=jnp.float32(2.0)), 1,
        return_sum=[9.0, 6.0], episodes=[9, 4], reward_sum=[0.0, 8.0],
        late_return_sum=[9.0, 3.0], late_episodes=[9, 3], beyond_return_sum=[9.0, -1.0],
        beyond_episodes=[9, 1], final_return_sum=[9.0, 0.5], lives_ended=[9, 2],
        lives_deterministic=[9, 1], lives_not_finite=[9, 3], policy_entropy=[9.0, 1.0],
        prediction_entropy=[9.0, 2.0], share_median=[9.0, 0.5], share_largest=[9.0, np.inf],
    )  # fmt: skip
    found = record_of(metrics)["environments"]["long_noisy"]
    assert found.pop("bandit") == [pytest.approx(1 / 9, abs=1e-6)] * 9
    assert found == {
        "return": 1.5, "reward_per_step": pytest.approx(0.05), "late_return": 1.0,
        "late_return_within": 2.0, "late_return_beyond": -1.0, "final_return": 0.25,
        "lives_ended": 2, "lives_deterministic": 1, "lives_not_finite": 3, "policy_entropy": 0.5,
        "prediction_entropy": 1.0, "prediction_information": pytest.approx(np.log(5) - 1.0),
        "share_median": 0.25, "share_largest": None,
    }  # fmt: skip


def test_environments_are_in_the_configs_order_and_nothing_is_made_of_nothing():
    config = replace(TINY, envs=("short", "sparse", "distractor", "long_noisy"))
    found = record_of(nothing(), config)
    assert list(found["environments"]) == list(found["return"]) == list(config.envs)
    assert set(found["return"].values()) == {None}
    assert (found["meta_step"], found["interactions"]) == (3, 3 * 8 * 4 * 5 * 2)
    assert found["gradient_norm"] is None and found["skipped"] == 0
    assert found["environments"]["sparse"]["reward_per_step"] == 0.0


def test_lives_that_earn_nothing_do_not_dilute_the_reward_of_those_that_do():
    """Of 2 lifetimes one earns: 40 transitions in a meta-step."""
    metrics = nothing()._replace(meta_steps=jnp.float32(1.0))
    metrics = with_figures(metrics, 2, reward_sum=[4.0])
    config = replace(TINY, reward_free_share=0.5)
    for told, expected in ((config, 0.1), (TINY, 0.05)):
        found = record_of(metrics, told)["environments"]["distractor"]
        assert found["reward_per_step"] == pytest.approx(expected)


def test_skipped_meta_gradients_have_no_part_in_the_mean_norm_and_losses_are_means():
    ones = jax.tree.map(jnp.ones_like, nothing())
    step = ones._replace(
        loss=ones.loss._replace(
            total=jnp.float32(jnp.nan), penalties={**ones.loss.penalties, "y_hat": jnp.float32(4.0)}
        ),
        gradient_norm=jnp.float32(3.0), skipped=jnp.float32(0.0),
    )  # fmt: skip
    skipped = step._replace(gradient_norm=jnp.float32(0.0), skipped=jnp.float32(1.0))
    found = record_of(add(step, skipped))
    assert (found["gradient_norm"], found["skipped"]) == (3.0, 1)
    assert found["loss"] == {
        "total": None, "policy_gradient": 1.0, "policy_entropy": 1.0, "prediction_entropy": 1.0,
        "pi_hat_square": 1.0, "y_hat_square": 4.0, "unearned_square": 1.0,
    }  # fmt: skip
    assert record_of(skipped)["gradient_norm"] is None


def test_the_bandits_probabilities_are_those_of_each_environment():
    bandits = [bandit.init(len(names), ARMS) for names in NAMES]
    tried = np.ones((2, ARMS), np.int32)
    tried[1, 4] = 0  # an arm never tried comes first
    bandits[1] = bandits[1]._replace(count=jnp.asarray(tried))
    found = as_record(nothing(), tuple(bandits), NAMES, TINY, 1)["environments"]
    assert found["long_noisy"]["bandit"] == [0.0] * 4 + [1.0] + [0.0] * 4
    assert found["short"]["bandit"] == [pytest.approx(1 / 9, abs=1e-6)] * 9
