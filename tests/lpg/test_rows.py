"""Lives side by side: which row is whose, and the way back."""

import jax.numpy as jnp
import numpy as np

from lpg.rows import inputs_to_rows, lives_to_rows, rows_to_lives
from lpg.rule import RuleInputs


def test_environment_b_of_life_l_is_row_l_times_b_plus_b():
    lives, steps, envs, width = 3, 2, 4, 5
    x = np.arange(lives * steps * envs * width).reshape(lives, steps, envs, width)
    rows = np.asarray(lives_to_rows(jnp.asarray(x)))
    assert rows.shape == (steps, lives * envs, width)
    for life in range(lives):
        for env in range(envs):
            np.testing.assert_array_equal(rows[:, life * envs + env], x[life, :, env])
    np.testing.assert_array_equal(rows_to_lives(jnp.asarray(rows), lives), x)


def test_inputs_keep_to_their_rows_together():
    """Every leaf of environment b of life l says so, gamma too, which has no axis of time."""
    lives, steps, envs = 3, 4, 2
    own = 10.0 * jnp.arange(lives)[:, None] + jnp.arange(envs)[None]

    def said(num_steps, *rest):
        shape = (lives, num_steps, envs, *rest)
        return jnp.broadcast_to(own.reshape(lives, 1, envs, *(1 for _ in rest)), shape)

    each = said(steps)
    inputs = RuleInputs(each, each, own, each, said(steps + 1, 5), said(steps + 1, 0))
    rows = inputs_to_rows(inputs)
    expected = np.array([0, 1, 10, 11, 20, 21], np.float32)
    np.testing.assert_array_equal(rows.gamma, expected)
    for leaf in (rows.reward, rows.not_done, rows.action_prob):
        np.testing.assert_array_equal(leaf, np.tile(expected, (steps, 1)))
    np.testing.assert_array_equal(rows.prediction[3, :, 4], expected)
    assert rows.prediction.shape == (steps + 1, lives * envs, 5)
    assert rows.value.shape == (steps + 1, lives * envs, 0)


def test_targets_of_no_width_go_back_too():
    x = np.zeros((4, 6, 0), np.float32)
    assert rows_to_lives(jnp.asarray(x), 3).shape == (3, 4, 2, 0)
