"""A life's last tenth, its final return and the guard, in closed form; no life is lived."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import TINY

from lpg.rollout import EpisodeSummary
from metatrain.lifetime import (
    LifetimeState,
    final_return,
    grow_older,
    is_deterministic,
    mean_return,
    stagger,
)


def summary(return_sum=0.0, count=0.0, reward_sum=0.0):
    return EpisodeSummary(**{
        "return_sum": jnp.float32(return_sum), "count": jnp.float32(count),
        "reward_sum": jnp.float32(reward_sum),
    })  # fmt: skip


def life(age, duration, late=None, **fields):
    """Nothing but what is asked of it here."""
    empty = dict.fromkeys(LifetimeState._fields)
    late = summary() if late is None else late
    given = {"age": jnp.int32(age), "duration": jnp.int32(duration), "late": late}
    return LifetimeState(**(empty | given | fields))


@pytest.mark.parametrize("duration", [1, 7, 10, 11, 20, 25])
def test_the_last_tenth_rounded_up_is_counted_and_nothing_else(duration):
    """Every window says which one it is; a tenth of 11 windows are 2."""
    grow = jax.jit(grow_older)
    current, windows = life(0, duration), -(-duration // 10)
    for age in range(duration):
        current = grow(current, summary(2.0**age, 1.0, 0.5))
        assert int(current.age) == age + 1
    late = current.late
    assert float(late.return_sum) == sum(2.0**age for age in range(duration - windows, duration))
    assert (float(late.count), float(late.reward_sum)) == (windows, 0.5 * windows)


def test_where_no_episode_finished_the_reward_rate_stands_in():
    transitions, longest = jnp.float32(80.0), jnp.int32(50)
    assert float(mean_return(summary(6.0, 4.0, 99.0), transitions, longest)) == 1.5
    stands_in = mean_return(summary(0.0, 0.0, 8.0), transitions, longest)
    assert float(stands_in) == pytest.approx(8 / 80 * 50)


def test_the_final_return_is_the_last_tenths_and_the_windows_of_a_life_cut_short():
    """40 transitions a window; two late windows of 20 have 80 of them."""
    world = SimpleNamespace(max_steps_in_episode=jnp.int32(50))
    now = summary(3.0, 4.0, 100.0)

    def score(age, late, window=now):
        return float(final_return(TINY, life(age, 20, late, env_params=world), window))

    assert score(20, summary(5.0, 2.0)) == 2.5
    assert score(20, summary(0.0, 0.0, 8.0)) == pytest.approx(8 / 80 * 50)
    assert score(19, summary(0.0, 0.0, 8.0)) == pytest.approx(8 / 40 * 50)
    assert score(18, summary()) == 0.75  # ended by the guard before its last tenth
    assert score(3, summary(), summary(0.0, 0.0, 4.0)) == pytest.approx(4 / 40 * 50)


@pytest.mark.parametrize(
    ("entropy", "parameter", "ended"),
    [
        (1e-4, 1.0, False), (0.5, -3.0, False), (0.99e-4, 1.0, True), (np.nan, 1.0, True),
        (0.5, np.nan, True), (0.5, np.inf, True),
    ],
)  # fmt: skip
def test_the_guard_ends_lives_without_entropy_or_with_numbers_not_finite(entropy, parameter, ended):
    agent = SimpleNamespace(params={"w": jnp.array([0.0, parameter]), "b": jnp.zeros(())})
    found = is_deterministic(TINY, life(0, 9, agent=agent), jnp.float32(entropy))
    assert bool(found) == ended


def test_the_first_generation_starts_evenly_spread_in_mid_life_and_is_not_scored():
    """Each of 5 ages in 1,000 lives: 200 ± 12.6; within 5 standard deviations but for 3e-6."""
    keys = jax.random.split(jax.random.key(0), 1000)
    spread = jax.jit(jax.vmap(lambda key: stagger(key, life(0, 5, scored=jnp.array(True)))))(keys)
    assert np.bincount(spread.age, minlength=6)[5:].sum() == 0
    assert np.abs(np.bincount(spread.age)[:5] - 200).max() < 63
    assert not np.asarray(spread.scored).any()
