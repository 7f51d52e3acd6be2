"""Both inputs of phi: the centred rule and the published network are one function."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from lpg.rule import RuleInputs
from lpg.rules.lpg import LPG

CENTRED = LPG(hidden_size=8, prediction_size=5, embedding_size=4, prediction_input="centred")
T, R = 4, 3


def inputs(prediction):
    rng = np.random.default_rng(0)
    return RuleInputs(
        reward=jnp.asarray(rng.normal(size=(T, R)), jnp.float32),
        not_done=jnp.asarray(rng.random((T, R)) < 0.7, jnp.float32),
        gamma=jnp.full((R,), 0.99),
        action_prob=jnp.asarray(rng.random((T, R)), jnp.float32),
        prediction=prediction,
        value=jnp.zeros((T + 1, R, 0)),
    )


def drawn(scale=2.0):
    return scale * jax.random.normal(jax.random.key(3), (T + 1, R, 5))


def test_published_parameters_give_the_same_targets():
    eta = CENTRED.init(jax.random.key(0))
    published = CENTRED.published()
    assert published == dataclasses.replace(CENTRED, prediction_input="y")
    ours = CENTRED.targets(eta, inputs(drawn()))
    theirs = published.targets(CENTRED.publish(eta), inputs(drawn()))
    for a, b in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    # Read as published without being folded, the parameters are another rule's.
    assert np.abs(ours.pi_hat - published.targets(eta, inputs(drawn())).pi_hat).max() > 1e-3


def test_unpublishing_undoes_it():
    eta = CENTRED.init(jax.random.key(1))
    again = CENTRED.unpublish(CENTRED.publish(eta))
    np.testing.assert_allclose(ravel_pytree(again)[0], ravel_pytree(eta)[0], rtol=1e-5, atol=1e-6)
    plain = CENTRED.published()
    assert plain.publish(eta) is eta and plain.unpublish(eta) is eta


def test_a_uniform_y_reads_as_zero():
    """phi then sees its bias alone, whatever its kernel."""
    eta = CENTRED.init(jax.random.key(0))
    other = jax.tree.map(lambda x: x, eta)
    other["phi"]["hidden"]["kernel"] = 7.0 * eta["phi"]["hidden"]["kernel"]
    uniform = inputs(jnp.full((T + 1, R, 5), 3.0))

    def both(given):
        return zip(*(jax.tree.leaves(CENTRED.targets(x, given)) for x in (eta, other)), strict=True)

    for a, b in both(uniform):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for a, b in both(inputs(drawn())):
        assert np.abs(a - b).max() > 1e-3


def test_what_phi_reads_is_not_in_a_files_header():
    assert "prediction_input" not in CENTRED.architecture()
    assert LPG.from_architecture(CENTRED.architecture()).prediction_input == "y"
