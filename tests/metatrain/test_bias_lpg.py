"""LPG's meta-gradient on lives that are known: against differences, loops, and many rollouts."""

import io
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from rich.console import Console

from metatrain.bias import cli, kept, lpg_study
from metatrain.bias.lpg_study import Cell, cells_of, compared, newborn
from metatrain.bias.small_lives import (
    NUM_STEPS,
    NUM_TRAJECTORIES,
    SURROGATES,
    all_trajectories,
    expected_return,
    expected_step,
    log_odds,
    meta_gradient,
    sample_life,
    sampled_step,
    way_of,
)

RATE = 20.0


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def life():
    return sample_life(jax.random.key(3))


@pytest.fixture
def eta():
    """Of a rule that pushes; one at birth hardly does."""
    flat, unravel = ravel_pytree(newborn(0))
    return unravel(flat + 0.3 * np.random.default_rng(0).normal(size=flat.shape))


def test_all_trajectories_are_the_mdps(life):
    found = all_trajectories(life)
    sequences = {tuple(x) for x in np.asarray(found.action).T}
    assert sequences == set(itertools.product(range(2), repeat=NUM_STEPS))
    for b in (0, 77, NUM_TRAJECTORIES - 1):
        state, odds = 0, 0.0
        for t in range(NUM_STEPS):
            action = int(found.action[t, b])
            assert found.observation[t, b] == state
            assert found.reward[t, b] == life.reward[state, action]
            logits = np.asarray(life.theta[state, :2])
            odds += logits[action] - np.log(np.exp(logits).sum())
            state = int(life.following[state, action])
        assert found.observation[NUM_STEPS, b] == state
        assert log_odds(life.theta, found)[b] == pytest.approx(odds, abs=1e-12)
    assert jnp.exp(log_odds(life.theta, found)).sum() == pytest.approx(1, abs=1e-13)


def test_the_return_is_what_acting_for_long_earns(life):
    policy = np.asarray(jax.nn.softmax(life.theta[:, :2]))
    at, earned = np.eye(6)[0], 0.0
    for t in range(200):
        earned += 0.8**t * (at[:, None] * policy * np.asarray(life.reward)).sum()
        after = np.zeros(6)
        np.add.at(after, np.asarray(life.following), at[:, None] * policy)
        at = after
    assert expected_return(life, life.theta) == pytest.approx(earned, rel=1e-12)


@pytest.mark.slow
def test_the_exact_meta_gradient_is_that_of_central_differences(life, eta):
    """And it is score's by all trajectories, but no other's; values are the same for all."""
    keys = jax.random.split(jax.random.key(0), 3)

    @jax.jit
    def gradient(eta, way):
        return meta_gradient(expected_step(life, way), eta, life, keys)

    exact = way_of("autodiff", RATE, exact=True)
    value, true = gradient(eta, exact)
    true, _ = ravel_pytree(true)
    flat, unravel = ravel_pytree(eta)
    direction = np.random.default_rng(1).normal(size=flat.shape)
    direction = 0.5 * direction / np.linalg.norm(direction) + 0.5 * true / np.linalg.norm(true)
    step = 1e-5
    ahead, behind = (gradient(unravel(flat + x * direction), exact)[0] for x in (step, -step))
    slope = float(true @ direction)
    assert abs(slope) > 1e-3
    assert float(ahead - behind) / (2 * step) == pytest.approx(slope, rel=1e-6)
    for name in SURROGATES:
        same, found = gradient(eta, way_of(name, RATE))
        gap = np.abs(ravel_pytree(found)[0] - true).max() / np.abs(true).max()
        assert float(same) == pytest.approx(float(value), rel=1e-12)
        assert gap < 1e-11 if name == "score" else gap > 1e-3


@pytest.mark.slow
def test_many_rollouts_come_to_all_trajectories(life, eta):
    """One update by 20,000: within five standard errors of the expected one, in every element of
    theta; a false alarm in 10^5."""
    way = way_of("autodiff", RATE)
    expected = np.asarray(expected_step(life, way)(eta, life.theta, jax.random.key(0)))
    keys = jax.random.split(jax.random.key(1), 100)
    step = sampled_step(life, way, 200)
    found = np.asarray(jax.jit(jax.vmap(lambda key: step(eta, life.theta, key)))(keys))
    error = found.std(axis=0, ddof=1) / 10
    assert error.max() > 1e-3
    assert (np.abs(found.mean(axis=0) - expected) <= 5 * error + 1e-12).all()


def test_figures_are_those_of_loops():
    rng = np.random.default_rng(0)
    found, true = rng.normal(size=(4, 3, 5)) + 1.0, rng.normal(size=(4, 5)) + 1.0
    found[2] *= 50  # a life that is heard alone
    got = compared(found, true)

    def cosine(x, y):
        return x @ y / np.linalg.norm(x) / np.linalg.norm(y)

    alone = [np.mean([cosine(x, true[i]) for x in found[i]]) for i in range(4)]
    assert got["acc"]["1"] == pytest.approx(np.mean(alone), rel=1e-12)
    assert got["acc_se"]["1"] == pytest.approx(np.std(alone, ddof=1) / 2, rel=1e-12)
    together = [cosine(found[:, r].mean(axis=0), true.mean(axis=0)) for r in range(3)]
    assert got["acc"]["4"] == pytest.approx(np.mean(together), rel=1e-12)
    bounded = []
    for r in range(3):
        norms = [np.linalg.norm(found[i, r]) for i in range(4)]
        scales = [min(1.0, 5 * np.median(norms) / norm) for norm in norms]
        assert min(scales) < 0.5
        mean = np.mean([scale * found[i, r] for i, scale in enumerate(scales)], axis=0)
        bounded.append(cosine(mean, true.mean(axis=0)))
    assert got["acc_bounded"]["4"] == pytest.approx(np.mean(bounded), rel=1e-12)
    bias, noise = [], []
    for i in range(4):
        trace = sum(found[i, :, j].var(ddof=1) for j in range(5))
        off = sum((found[i].mean(axis=0) - true[i]) ** 2) - trace / 3
        bias.append(np.sqrt(max(off, 0)) / np.linalg.norm(true[i]))
        noise.append(np.sqrt(trace) / np.linalg.norm(true[i]))
    assert got["bias"] == pytest.approx(np.median(bias), rel=1e-12)
    assert got["noise"] == pytest.approx(np.median(noise), rel=1e-12)
    one = compared(true[:, None], true)
    assert one["acc"]["4"] == pytest.approx(1) and one["noise"] == one["bias"] == 0


def test_the_study_is_what_was_asked():
    cells = cells_of()
    assert len(set(cells)) == len(cells)
    assert {c.inner_steps for c in cells} == {1, 2, 3, 5, 10, 20}
    of_five = {c.environments for c in cells if c.inner_steps == 5}
    assert of_five == {4, 16, 64, None}
    assert {c.surrogate for c in cells} == set(SURROGATES)
    assert len(cells_of(quick=True)) < len(cells) / 3


@pytest.mark.slow
def test_the_command_goes_on_and_draws(tmp_path, monkeypatch):
    measured = []

    def measure(cell):
        measured.append(cell)
        return {"acc": {"1": 0.5, "4": 0.6}, "acc_se": {}, "noise": 2.0, "bias": 0.1}

    monkeypatch.setattr(cli, "enable_compilation_cache", lambda: None)
    monkeypatch.setattr(lpg_study, "measure", measure)
    cells, path = cells_of(quick=True), tmp_path / "lpg.jsonl"
    quiet = Console(file=io.StringIO())
    for _ in range(2):
        assert set(kept.compute(cells, path, quiet, "cell")) == set(cells)
        assert len(measured) == len(cells) == len(path.read_text().splitlines())
    path.write_bytes(path.read_bytes()[:-9])  # as a process that was killed leaves it
    cli.main(["lpg", "--quick", "--run-dir", str(tmp_path)])
    assert len(measured) == len(cells) + 1
    assert set(kept.read(path, Cell, "cell")) == set(cells)
    assert {x.name for x in tmp_path.iterdir()} >= {"lpg.jsonl", "lpg.png", "lpg.pdf"}


@pytest.mark.slow
def test_a_cell_is_measured():
    """One update: nothing tells surrogates apart, and few rollouts are not the truth."""
    sizes = {"rule": "newborn", "inner_steps": 1, "lives": 4, "repeats": 2}
    names = ("autodiff", "score")
    few = [lpg_study.measure(Cell(surrogate=s, environments=2, **sizes)) for s in names]
    for other in few[1:]:
        assert other["acc"]["4"] == pytest.approx(few[0]["acc"]["4"], rel=1e-10)
    assert 0 < few[0]["acc"]["4"] < 0.99 and few[0]["noise"] > 0.1
    every = lpg_study.measure(Cell(environments=None, **sizes))
    assert every["acc"]["4"] == pytest.approx(1, abs=1e-12) and every["bias"] < 1e-12
