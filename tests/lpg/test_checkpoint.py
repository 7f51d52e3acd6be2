"""Checkpoints of any pytree: bit for bit, and what becomes of damaged and foreign ones."""

import os
import shutil
import stat
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lpg.files.storage import write_atomically
from lpg.runs import checkpoint as checkpoint_module
from lpg.runs.checkpoint import CheckpointError, Checkpoints, newest_leaves

# Reading a damaged checkpoint without its list of files fails inside orbax's threads, which
# complain whenever they get to it: possibly during a later test of this file.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def make_state(seed=0):
    key = jax.random.key(seed)
    return {
        "key": key,
        "keys": jax.random.split(key, 3),
        "wide": jax.random.normal(key, (64, 32)),
        "narrow": jax.random.normal(key, (5,), jnp.bfloat16),
        "odd": jnp.array([jnp.nan, -0.0, jnp.inf, 1e-45]),
        "counts": (jnp.int32(7), jnp.arange(4, dtype=jnp.uint32), jnp.array([True, False])),
    }


def words(state):
    """Leaves as their bytes: NaN equals NaN, and -0 is not 0."""
    leaves = [
        jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        for x in jax.tree.leaves(state)
    ]
    return [(np.asarray(x).dtype, np.shape(x), np.asarray(x).tobytes()) for x in leaves]


def restored_from(path, like=None):
    like = make_state() if like is None else like
    return Checkpoints(path).restore_newest(jax.eval_shape(lambda: like))


def damage(folder, how):
    largest = max(
        (f for f in (folder / "state").rglob("*") if f.is_file()), key=lambda f: f.stat().st_size
    )
    data = bytearray(largest.read_bytes())
    if how == "flip":
        data[len(data) // 2] ^= 1
        largest.write_bytes(bytes(data))
    else:
        largest.write_bytes(bytes(data[: len(data) // 2]))


def test_every_leaf_comes_back_bit_for_bit(tmp_path):
    Checkpoints(tmp_path).save(2, make_state())
    restored = restored_from(tmp_path)
    assert restored is not None and restored.step == 2 and restored.damaged == ()
    assert words(restored.state) == words(make_state())


def test_an_empty_directory_has_none(tmp_path):
    assert restored_from(tmp_path) is None


def test_the_newest_three_stay(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (3, 5, 8, 13):
        checkpoints.save(step, make_state(step))
    kept = sorted(int(f.name) for f in (tmp_path / "checkpoints").iterdir() if f.name.isdigit())
    assert kept == [5, 8, 13]
    restored = restored_from(tmp_path)
    assert restored is not None and words(restored.state) == words(make_state(13))


@pytest.mark.parametrize("how", ["flip", "truncate"])
@pytest.mark.parametrize("manifest", [True, False])
def test_damaged_newest_checkpoint_is_reported_and_the_one_before_used(tmp_path, how, manifest):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, make_state(1))
    checkpoints.save(2, make_state(2))
    newest = tmp_path / "checkpoints" / "2"
    if not manifest:
        (newest / checkpoint_module.MANIFEST).unlink()
    damage(newest, how)
    restored = restored_from(tmp_path)
    assert restored is not None and restored.step == 1
    assert len(restored.damaged) == 1 and "Checkpoint 2 is damaged" in restored.damaged[0]
    assert (tmp_path / "damaged" / "2").exists()
    assert words(restored.state) == words(make_state(1))


def test_no_intact_checkpoint_is_an_error(tmp_path):
    Checkpoints(tmp_path).save(1, make_state())
    damage(tmp_path / "checkpoints" / "1", "flip")
    with pytest.raises(CheckpointError, match="None of the checkpoints"):
        restored_from(tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"odd": None}, "odd is unknown"),
        ({"new": jnp.zeros(2)}, "new is missing"),
        ({"wide": jnp.zeros((64, 31))}, r"wide is float32\[64, 32\]"),
        ({"narrow": jnp.zeros(5)}, r"narrow is bfloat16\[5\]"),
    ],
)
def test_an_intact_checkpoint_of_another_state_is_not_called_damaged(tmp_path, change, sentence):
    """A state that gained, lost or changed a leaf is of another version, and stays where it is."""
    Checkpoints(tmp_path).save(4, make_state())
    with pytest.raises(CheckpointError, match=f"intact but holds another state .{sentence}"):
        restored_from(tmp_path, make_state() | change)
    assert not (tmp_path / "damaged").exists()
    restored = restored_from(tmp_path)
    assert restored is not None and restored.step == 4


def test_leaves_by_their_paths_for_whoever_knows_no_state(tmp_path):
    Checkpoints(tmp_path).save(1, make_state(1))
    Checkpoints(tmp_path).save(2, make_state(2))
    leaves = newest_leaves(tmp_path)
    assert set(leaves) == {"key", "keys", "wide", "narrow", "odd"} | {f"counts.{i}" for i in "012"}
    np.testing.assert_array_equal(leaves["wide"], make_state(2)["wide"])
    with pytest.raises(CheckpointError, match="There is no checkpoint in"):
        newest_leaves(tmp_path / "nowhere")
    damage(tmp_path / "checkpoints" / "2", "flip")
    with pytest.raises(CheckpointError, match="Checkpoint 2 of .* is damaged"):
        newest_leaves(tmp_path)
    assert not (tmp_path / "damaged").exists()  # nothing is moved


def test_taken_up_again_a_damaged_run_is_one_checkpoint_back_for_good(tmp_path):
    """The damaged one is out of the way: the next save of that step is not in its place."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, make_state(1))
    checkpoints.save(2, make_state(2))
    damage(tmp_path / "checkpoints" / "2", "flip")
    checkpoints = Checkpoints(tmp_path)
    checkpoints.restore_newest(jax.eval_shape(make_state))
    checkpoints.save(2, make_state(20))
    again = restored_from(tmp_path)
    assert again is not None and (again.step, again.damaged) == (2, ())
    assert words(again.state) == words(make_state(20))


@pytest.mark.parametrize("free, total, fits", [(39, 1000, False), (40, 1000, True), (0, 0, True)])
def test_a_disk_without_room_for_files_is_noticed_before_anything_is_written(
    tmp_path, monkeypatch, free, total, fits
):
    """By bytes there is room; a file system that does not count files says 0 of 0."""
    statvfs = os.statvfs

    def counted(path):
        told = statvfs(path)
        return types.SimpleNamespace(f_files=total, f_favail=free, f_frsize=told.f_frsize)

    checkpoints = Checkpoints(tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checkpoint_module.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(checkpoint_module.os, "statvfs", counted)
    if fits:
        checkpoints.save(1, make_state())
        return
    with pytest.raises(CheckpointError, match=r"\(the disk has no room for as many files\)"):
        checkpoints.save(1, make_state())
    assert not any((tmp_path / "checkpoints").iterdir())


@pytest.mark.parametrize("umask", [0o027, 0o002, 0o077])
def test_the_umask_is_obeyed_by_every_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        (tmp_path / "run").mkdir()
        Checkpoints(tmp_path / "run").save(1, make_state())
        write_atomically(tmp_path / "run" / "config.json", b"{}")
    finally:
        os.umask(before)
    found = list((tmp_path / "run").rglob("*"))
    assert len(found) > 10
    for path in found:
        assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~umask


def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    """One byte less than the leaves need."""
    checkpoints = Checkpoints(tmp_path)
    needed = sum(len(data) for *_, data in words(make_state()))
    usage = type("Usage", (), {"free": needed - 1})
    monkeypatch.setattr(checkpoint_module.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(CheckpointError, match=r"Checkpoint 1 .* \(the disk is full\)"):
        checkpoints.save(1, make_state())
    assert list((tmp_path / "checkpoints").iterdir()) == []
    usage.free = needed
    checkpoints.save(1, make_state())
    assert (tmp_path / "checkpoints" / "1" / checkpoint_module.MANIFEST).exists()
