"""The agents' optimisers: optax's values, and derivatives that an outer gradient can live with."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lpg.optimizers import (
    SGD,
    apply_direction,
    clip_by_global_norm,
    impala_optimizer,
    make_optimizer,
    scale_by_adam_constant_root,
)

B1, B2, EPS = 0.9, 0.999, 1e-8
PARAMS = {"w": jnp.zeros((2, 3)), "b": jnp.zeros((3,))}


def gradients(seed):
    rng = np.random.default_rng(seed)
    return {
        "w": jnp.asarray(rng.normal(size=(2, 3)) * 10.0 ** rng.integers(-4, 2), jnp.float32),
        "b": jnp.asarray(rng.normal(size=3), jnp.float32).at[0].set(0.0),
    }


def test_adam_follows_optax_over_steps():
    ours, theirs = make_optimizer("adam"), optax.adam(1.0, b1=B1, b2=B2, eps=EPS)
    state, their_state = ours.init(PARAMS), theirs.init(PARAMS)
    update, their_update = jax.jit(ours.update), jax.jit(theirs.update)
    for seed in range(6):
        direction, state = update(gradients(seed), state)
        expected, their_state = their_update(gradients(seed), their_state)
        for name in PARAMS:  # optax.adam includes the minus sign and its learning rate of 1
            np.testing.assert_allclose(direction[name], -expected[name], rtol=1e-5, atol=1e-7)
    assert int(state.count) == 6


def test_adam_follows_numpy():
    """Kingma and Ba 2015, Algorithm 1."""
    optimizer = make_optimizer("adam")
    state, update = optimizer.init(PARAMS), jax.jit(optimizer.update)
    m, v = np.zeros((2, 3)), np.zeros((2, 3))
    for t in range(1, 5):
        g = np.asarray(gradients(t)["w"], np.float64)
        m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g**2
        expected = (m / (1 - B1**t)) / (np.sqrt(v / (1 - B2**t)) + EPS)
        direction, state = update(gradients(t), state)
        np.testing.assert_allclose(direction["w"], expected, rtol=2e-4)


def final_parameter(scale, optimizer, steps=3):
    """Where `steps` of gradient scale * (1, 0, -2) lead; its second entry is always zero."""
    params = jnp.zeros((3,))
    state = optimizer.init(params)
    for _ in range(steps):
        direction, state = optimizer.update(scale * jnp.array([1.0, 0.0, -2.0]), state)
        params = apply_direction(params, direction, jnp.float32(0.1))
    return params


def test_zero_gradients_give_no_nan_meta_gradient():
    ours = jax.jacobian(lambda s: final_parameter(s, scale_by_adam_constant_root()))(1.5)
    assert np.isfinite(ours).all()
    assert ours[0] != 0 and ours[1] == 0
    # What it protects from: optax's own has the derivative of a square root at zero.
    theirs = jax.jacobian(lambda s: final_parameter(s, optax.scale_by_adam(B1, B2, EPS)))(1.5)
    assert np.isnan(theirs[1])


def test_derivative_holds_the_root_constant():
    """d direction / d gradient = (1 - b1) / (1 - b1^t) / (sqrt(v_t / (1 - b2^t)) + eps)."""
    optimizer = scale_by_adam_constant_root(B1, B2, EPS)
    state = optimizer.init(jnp.zeros((3,)))
    before = [jnp.array([0.3, -2.0, 1e-3]), jnp.array([-0.1, 0.5, 4.0])]
    v = np.zeros(3)
    for g in before:
        _, state = optimizer.update(g, state)
        v = B2 * v + (1 - B2) * np.asarray(g, np.float64) ** 2
    last = jnp.array([0.7, 0.0, -0.2])
    v = B2 * v + (1 - B2) * np.asarray(last, np.float64) ** 2
    jacobian = jax.jacobian(lambda g: optimizer.update(g, state)[0])(last)
    expected = (1 - B1) / (1 - B1**3) / (np.sqrt(v / (1 - B2**3)) + EPS)
    np.testing.assert_allclose(jacobian, np.diag(expected), rtol=1e-4)


def test_nothing_differentiates_through_an_earlier_root():
    """The second moment carries no gradient from one step to the next either."""
    optimizer = scale_by_adam_constant_root()

    def second_moment(g):
        state = optimizer.init(g)
        _, state = optimizer.update(g, state)
        return jnp.sum(state.nu)

    assert second_moment(jnp.ones((2,))) > 0
    np.testing.assert_array_equal(jax.grad(second_moment)(jnp.ones((2,))), np.zeros(2))


def test_sgd_is_the_gradient_and_steps_go_downhill():
    optimizer = make_optimizer("sgd")
    direction, _ = optimizer.update(gradients(0), optimizer.init(PARAMS))
    moved = apply_direction(PARAMS, direction, jnp.float32(20.0))
    np.testing.assert_allclose(moved["w"], -20.0 * gradients(0)["w"])


def test_an_optimiser_that_is_not_table_3s_is_refused_and_plain_descent_is_known_by_sight():
    assert make_optimizer("sgd") is SGD
    # Past the tests' own check of types, which a user does not have.
    with pytest.raises(ValueError, match="Unknown optimiser 'rmsprop'; known are 'sgd' and 'adam'"):
        make_optimizer.__wrapped__("rmsprop")


def test_each_life_steps_by_its_own_rate_and_parameters_keep_their_type():
    params = {"w": jnp.ones((3, 2)), "narrow": jnp.ones((3, 2), jnp.bfloat16)}
    direction = jax.tree.map(lambda x: 2 * x, params)
    rates = jnp.array([0.0, 0.5, -1.0])
    moved = jax.vmap(apply_direction)(params, direction, rates)
    assert {name: x.dtype for name, x in moved.items()} == {
        "w": jnp.float32, "narrow": jnp.bfloat16,
    }  # fmt: skip
    for leaf in moved.values():
        np.testing.assert_array_equal(leaf.astype(jnp.float32), [[1, 1], [0, 0], [3, 3]])


def test_impalas_optimiser_is_clipped_rmsprop_with_a_falling_step():
    """Beside NumPy: epsilon inside the root, an accumulator of 1 at first, the last step 0."""
    rng = np.random.default_rng(0)
    grads = rng.normal(size=(4, 3)) * np.array([[0.1], [9.0], [1.0], [1.0]])
    optimizer = impala_optimizer(4, max_norm=2.0, decay=0.9, eps=0.3)
    state, mean_square = optimizer.init(jnp.zeros(3)), np.ones(3)
    for i, grad in enumerate(grads):
        direction, state = optimizer.update(jnp.asarray(grad, jnp.float32), state)
        clipped = grad * min(1.0, 2.0 / np.linalg.norm(grad))
        mean_square = 0.9 * mean_square + 0.1 * clipped**2
        expected = (1 - i / 4) * clipped / np.sqrt(mean_square + 0.3)
        np.testing.assert_allclose(direction, expected, rtol=1e-5)
    assert not np.asarray(optimizer.update(jnp.ones(3), state)[0]).any()
    constant = impala_optimizer(1, constant_rate=True)
    state = constant.init(jnp.ones(1))
    for _ in range(3):
        direction, state = constant.update(jnp.ones(1), state)
    assert direction[0] > 0.5


@pytest.mark.parametrize("differentiate", [False, True])
def test_a_clips_factor_is_a_constant_unless_asked_otherwise(differentiate):
    clip = clip_by_global_norm(1.0, differentiate)

    def first(scale):
        return clip.update(scale * jnp.array([3.0, 4.0]), optax.EmptyState())[0][0]

    np.testing.assert_allclose(first(1.0), 0.6, rtol=1e-6)
    # Clipped, the direction alone is left: its derivative by the size is 0, or factor times 3.
    np.testing.assert_allclose(jax.grad(first)(1.0), 0.0 if differentiate else 0.6, atol=1e-6)
    # Nothing is clipped, nor NaN, where gradients vanish.
    assert jax.grad(lambda s: clip.update(s * jnp.zeros(2), optax.EmptyState())[0][0])(1.0) == 0.0
