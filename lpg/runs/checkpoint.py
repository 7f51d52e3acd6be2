"""Checkpoints of a pytree of state, bit for bit, by orbax, with digests.

A flipped bit in an array file would otherwise load silently. A finished checkpoint gets a list
of its files' SHA-256; a digest over the leaves is kept as well, for a checkpoint whose writer was
killed before it could make that list.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from lpg.files.storage import hexdigest_of, write_atomically

# orbax narrates every step here, and prints each traceback that it then raises.
logging.getLogger("absl").setLevel(logging.CRITICAL)

State = Any  # a pytree of arrays, typed PRNG keys included
KEEP = 3  # newest checkpoints that stay
FILES = 40  # and folders of a checkpoint, at most; of 73 MB they were 24
MANIFEST = "files.sha256.json"


class CheckpointError(RuntimeError):
    """A checkpoint that could not be written or read; the message names cause and remedy."""


class OtherStateError(CheckpointError):
    """An intact checkpoint of another state than the one asked for."""


class Restored(NamedTuple):
    """The newest intact checkpoint, and what was wrong with newer ones."""

    state: State
    step: int
    damaged: tuple[str, ...]  # one sentence for each newer checkpoint that could not be used


class Checkpoints:
    """The checkpoints of one run directory."""

    def __init__(self, run_dir: Path):
        self.directory = (run_dir / "checkpoints").absolute()
        self.directory.mkdir(parents=True, exist_ok=True)
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=checkpoint_managers.LatestN(KEEP),
                cleanup_tmp_directories=True,
                # A write in the background would report a full disk from a thread of its own.
                enable_async_checkpointing=False,
                create=False,
                multiprocessing_options=_this_process_alone(),
            ),
        )

    def save(self, step: int, state: State) -> None:
        """Write a checkpoint and the list of its files' digests.

        Raises CheckpointError where it could not be written; older ones stay as they were.
        """
        leaves = _named_leaves(state)
        metadata = {"digest": hexdigest_of(leaves, hashlib.sha256()), "step": step}
        try:
            _require_room(self.directory, leaves)
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(leaves), metadata=ocp.args.JsonSave(metadata)
                ),
            )
            self._manager.wait_until_finished()
            folder = self.directory / str(step)
            data = json.dumps(_file_digests(folder), indent=1).encode()
            write_atomically(folder / MANIFEST, data)
        except Exception as error:
            raise self._write_error(step, error) from error

    def restore_newest(self, like: State) -> Restored | None:
        """The newest intact checkpoint, or None in an empty directory.

        Damaged ones are moved to `damaged/` beside the checkpoints and reported. Raises
        CheckpointError if there are checkpoints but none is intact, and if an intact one holds
        another state than `like`.

        Args:
            like: a state, or its ShapeDtypeStructs, of the same config.
        """
        damaged: list[str] = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                state = self._restore(step, like)
            except OtherStateError:
                raise
            except Exception as error:
                reason = " ".join(str(error).split())[:160]
                damaged.append(f"Checkpoint {step} is damaged ({reason}); moved to damaged/{step}.")
                continue
            self._set_aside([int(text.split()[1]) for text in damaged])
            return Restored(state, step, tuple(damaged))
        if damaged:
            raise CheckpointError(
                f"None of the checkpoints in {self.directory} is intact; start again in another "
                "run directory."
            )
        return None

    def _restore(self, step: int, like: State) -> State:
        _check_files(self.directory / str(step))
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(), metadata=ocp.args.JsonRestore()
            ),
        )
        leaves = {name: np.asarray(x) for name, x in restored["state"].items()}
        if hexdigest_of(leaves, hashlib.sha256()) != restored["metadata"]["digest"]:
            raise CheckpointError("its contents do not match its digest")
        differing = _differing(leaves, _layout(like))
        if differing is not None:
            raise OtherStateError(
                f"Checkpoint {step} in {self.directory} is intact but holds another state "
                f"({differing}), as of another version of this program; go on with that version, "
                "or start again in another run directory."
            )
        return _from_named_leaves(leaves, like)

    def _set_aside(self, steps: list[int]) -> None:
        for step in steps:
            target = self.directory.parent / "damaged" / str(step)
            target.parent.mkdir(exist_ok=True)
            shutil.rmtree(target, ignore_errors=True)
            shutil.move(self.directory / str(step), target)
        if steps:
            self._manager.reload()

    def _write_error(self, step: int, error: Exception) -> CheckpointError:
        told = error.strerror if isinstance(error, OSError) else None
        reason = " ".join(str(told or error).split())
        cause = "the disk is full" if "space left" in reason.lower() else reason[:200]
        return CheckpointError(
            f"Checkpoint {step} could not be written to {self.directory} "
            f"({cause}); make room or fix the directory and run the same command again, it resumes "
            "from the newest one there."
        )


def newest_leaves(run_dir: Path) -> dict[str, np.ndarray]:
    """All leaves of a run's newest checkpoint by their path in the state, whatever made it.

    Nothing is moved or written. Raises CheckpointError where there is none, or none intact.
    """
    directory = (run_dir / "checkpoints").absolute()
    steps = sorted(
        (int(f.name) for f in directory.glob("[0-9]*") if f.name.isdigit()), reverse=True
    )
    if not steps:
        raise CheckpointError(
            f"There is no checkpoint in {run_dir}; name a run directory with one."
        )
    handler = ocp.Checkpointer(ocp.CompositeCheckpointHandler())
    try:
        _check_files(directory / str(steps[0]))
        restored = handler.restore(
            directory / str(steps[0]),
            ocp.args.Composite(state=ocp.args.StandardRestore(), metadata=ocp.args.JsonRestore()),
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(
            f"Checkpoint {steps[0]} of {run_dir} is damaged ({reason}); resume that run first, "
            "which sets it aside, or name its rule.safetensors."
        ) from error
    leaves = {name: np.asarray(x) for name, x in restored["state"].items()}
    if hexdigest_of(leaves, hashlib.sha256()) != restored["metadata"]["digest"]:
        raise CheckpointError(
            f"Checkpoint {steps[0]} of {run_dir} does not match its digest; name an intact run."
        )
    return leaves


def _this_process_alone() -> ocp.options.MultiprocessingOptions:
    """orbax would have all processes of `jax.distributed` write together, and wait for them."""
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    me = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
    )


def _require_room(directory: Path, leaves: dict[str, np.ndarray]) -> None:
    """Raise OSError before orbax's many writers would each fail, and say so, on a full disk."""
    needed = sum(x.nbytes for x in leaves.values())
    disk = os.statvfs(directory)
    counts_files = disk.f_files > 0  # as not all file systems do
    if shutil.disk_usage(directory).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if counts_files and disk.f_favail < FILES:
        raise OSError(errno.ENOSPC, "the disk has no room for as many files")


def _file_digests(folder: Path) -> dict[str, str]:
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.name != MANIFEST)
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def _check_files(folder: Path) -> None:
    """Raise CheckpointError where a file differs from what was written."""
    manifest = folder / MANIFEST
    if not manifest.exists():
        return  # its writer was killed; the digest of the leaves decides
    written, found = json.loads(manifest.read_text()), _file_digests(folder)
    for name, digest in written.items():
        if found.get(name) != digest:
            raise CheckpointError(f"its file {name} is not what was written")


def is_key(x: Any) -> bool:
    """Whether an array, or its ShapeDtypeStruct, holds typed PRNG keys."""
    return jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key)


def _host_leaf(x: Any) -> np.ndarray:
    if is_key(x):
        x = jax.random.key_data(x)
    return np.array(x, copy=True)


def _named_leaves(state: State) -> dict[str, np.ndarray]:
    """Leaves by their path in the pytree; typed PRNG keys as their words."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): _host_leaf(x)
        for path, x in jax.tree_util.tree_leaves_with_path(state)
    }


def _layout(like: State) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and dtype of every leaf by name, as it is stored."""

    def stored(x: Any) -> jax.ShapeDtypeStruct:
        return jax.eval_shape(jax.random.key_data if is_key(x) else lambda x: x, x)

    return {
        jax.tree_util.keystr(path, simple=True, separator="."): stored(x)
        for path, x in jax.tree_util.tree_leaves_with_path(like)
    }


def _differing(
    leaves: dict[str, np.ndarray], layout: dict[str, jax.ShapeDtypeStruct]
) -> str | None:
    """The first leaf, by name, that is missing, unknown, or of another shape or dtype."""
    for name in sorted({*leaves, *layout}):
        found, wanted = leaves.get(name), layout.get(name)
        if found is None or wanted is None:
            return f"{name} is {'missing' if found is None else 'unknown'}"
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            return f"{name} is {found.dtype}{list(found.shape)}"
    return None


def _from_named_leaves(leaves: dict[str, np.ndarray], like: State) -> State:
    def rebuild(path: Any, x: Any) -> Any:
        leaf = leaves[jax.tree_util.keystr(path, simple=True, separator=".")]
        if is_key(x):
            return jax.random.wrap_key_data(jax.numpy.asarray(leaf))
        return jax.numpy.asarray(leaf)

    return jax.tree_util.tree_map_with_path(rebuild, like)
