"""Which eta is exported: the running mean, and the best one validated."""

import jax.numpy as jnp
import numpy as np

from metatrain.selection import averaged, chosen, exported, nothing_selected


def etas(rng, n):
    return [{"w": jnp.asarray(x, jnp.float32)} for x in rng.normal(size=(n, 3))]


def test_the_mean_is_plain_at_first_and_forgets_at_the_decay():
    first, *others = etas(np.random.default_rng(0), 60)
    selection = nothing_selected(first)
    for n, eta in enumerate(others, start=1):
        selection = averaged(selection, eta, 0.9, jnp.int32(n))
        if n <= 10:
            plain = np.mean([x["w"] for x in others[:n]], axis=0)
            np.testing.assert_allclose(selection.average["w"], plain, rtol=1e-5, atol=1e-6)
    weights = 0.1 * 0.9 ** np.arange(59)[::-1]
    weights[:10] = 0.1 * 0.9**49  # the plain mean of ten, decayed 49 times
    expected = np.sum([w * np.asarray(x["w"]) for w, x in zip(weights, others, strict=True)], 0)
    np.testing.assert_allclose(selection.average["w"], expected, rtol=1e-4, atol=1e-6)


def test_the_best_validated_mean_is_exported_and_the_last_eta_before_there_is_one():
    worse, best, later = etas(np.random.default_rng(1), 3)
    selection = nothing_selected(worse)
    assert exported(selection, later, 7) == (later, 7, None)
    for eta, score, step in ((worse, 0.2, 10), (best, 0.5, 20), (later, 0.5, 30)):
        selection = selection._replace(average=eta)
        selection = chosen(selection, jnp.float32(score), jnp.int32(step))
    eta, step, score = exported(selection, later, 40)
    np.testing.assert_array_equal(eta["w"], best["w"])
    assert (step, score) == (20, 0.5)
    np.testing.assert_array_equal(selection.average["w"], later["w"])
