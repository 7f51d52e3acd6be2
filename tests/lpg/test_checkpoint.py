"""Checkpoints of any state, without an engine: what comes back, what stays, what is said."""

import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lpg.runs import checkpoint
from lpg.runs.checkpoint import KEEP, MANIFEST, CheckpointError, Checkpoints, newest_leaves


class State(NamedTuple):
    weights: dict
    step: jax.Array
    keys: jax.Array


def state(step=0):
    return State(
        weights={"w": np.array([[1.5, -0.0], [np.nan, np.inf]], np.float32), "none": ()},
        step=np.int32(step),
        keys=jax.random.split(jax.random.key(step), 2),
    )


def assert_same(a, b):
    np.testing.assert_array_equal(*(jax.random.key_data(x.keys) for x in (a, b)))
    assert jax.tree.structure(a) == jax.tree.structure(b)
    pairs = zip(*(jax.tree.leaves(x._replace(keys=())) for x in (a, b)), strict=True)
    for x, y in pairs:
        assert x.dtype == y.dtype and np.asarray(x).tobytes() == np.asarray(y).tobytes()


def shapes():
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state())


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """With five checkpoints written."""
    path = tmp_path_factory.mktemp("run")
    checkpoints = Checkpoints(path)
    for step in range(1, 6):
        checkpoints.save(step, state(step))
    return path


def test_nothing_was_there_before_the_first(tmp_path):
    assert Checkpoints(tmp_path).restore_newest(shapes()) is None


def test_every_bit_comes_back_keys_and_numbers_that_are_none_included(run_dir):
    """Minus zero, infinity and NaN are bits like others."""
    restored = Checkpoints(run_dir).restore_newest(shapes())
    assert restored is not None and (restored.step, restored.damaged) == (5, ())
    assert_same(restored.state, state(5))


def test_only_the_newest_stay(run_dir):
    steps = sorted(int(f.name) for f in (run_dir / "checkpoints").iterdir())
    assert steps == [3, 4, 5] and len(steps) == KEEP


def test_leaves_are_named_by_their_path_for_who_does_not_know_the_state(run_dir):
    leaves = newest_leaves(run_dir)
    assert leaves.keys() == {"weights.w", "step", "keys"}
    assert leaves["step"] == 5
    assert leaves["weights.w"].tobytes() == state().weights["w"].tobytes()
    np.testing.assert_array_equal(leaves["keys"], jax.random.key_data(state(5).keys))


def damaged_copy(run_dir, path):
    shutil.copytree(run_dir, path)
    folder = path / "checkpoints" / "5"
    manifest = folder / MANIFEST
    files = [f for f in folder.rglob("*") if f.is_file() and f != manifest]
    victim = max(files, key=lambda f: f.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(bytes(data))
    return victim.relative_to(folder)


def test_reading_alone_moves_nothing_of_a_damaged_run(run_dir, tmp_path):
    run = tmp_path / "run"
    victim = damaged_copy(run_dir, run)
    before = sorted(f.relative_to(run) for f in run.rglob("*"))
    with pytest.raises(CheckpointError, match="Checkpoint 5 of .* is damaged") as told:
        newest_leaves(run)
    assert f"its file {victim} is not what was written" in str(told.value)
    assert sorted(f.relative_to(run) for f in run.rglob("*")) == before


def test_taken_up_again_a_damaged_run_is_one_checkpoint_back_for_good(run_dir, tmp_path):
    """The damaged one is out of the way: the next save of that step is not in its place."""
    run = tmp_path / "run"
    damaged_copy(run_dir, run)
    checkpoints = Checkpoints(run)
    restored = checkpoints.restore_newest(shapes())
    assert restored is not None and restored.step == 4
    (told,) = restored.damaged
    assert "moved to damaged/5" in told and "\n" not in told
    assert (run / "damaged" / "5" / MANIFEST).exists()
    checkpoints.save(5, state(50))
    again = Checkpoints(run).restore_newest(shapes())
    assert again is not None and (again.step, again.damaged) == (5, ())
    assert_same(again.state, state(50))


def test_no_checkpoint_is_one_sentence(tmp_path):
    with pytest.raises(CheckpointError, match="There is no checkpoint in"):
        newest_leaves(tmp_path)
    (tmp_path / "checkpoints" / "half.tmp").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="There is no checkpoint in"):
        newest_leaves(tmp_path)


def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    """One byte less than the leaves need."""
    checkpoints = Checkpoints(tmp_path)
    needed = 4 * 4 + 4 + 2 * 2 * 4
    usage = type("Usage", (), {"free": needed - 1})
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(CheckpointError, match=r"Checkpoint 1 .* \(the disk is full\)"):
        checkpoints.save(1, state())
    assert list((tmp_path / "checkpoints").iterdir()) == []
    usage.free = needed
    checkpoints.save(1, state())
    assert (tmp_path / "checkpoints" / "1" / MANIFEST).exists()


def test_keys_are_told_from_numbers_by_value_and_by_shape_alone():
    key, words = jax.random.key(0), jnp.zeros((2,), jnp.uint32)
    assert checkpoint.is_key(key) and not checkpoint.is_key(words)
    assert checkpoint.is_key(jax.eval_shape(lambda: key))
    assert not checkpoint.is_key(jax.eval_shape(lambda: words))
