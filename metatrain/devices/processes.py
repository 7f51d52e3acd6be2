"""Several processes: one set of lifetimes, one run directory, which process 0 writes.

Every process runs the same program on its own devices. Nothing but process 0 touches the disk, so
hosts need no file system in common.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from lpg.runs.checkpoint import is_key
from metatrain.devices.distributed import ProcessesError

T = TypeVar("T")


def is_first() -> bool:
    """Whether this is process 0, which reads, writes and prints for all."""
    return jax.process_index() == 0


def on_first(function: Callable[[], T]) -> T | None:
    """What `function` returns, on process 0; the others wait, and stop with it where it raises."""
    if jax.process_count() == 1:
        return function()
    result, failure = None, None
    if is_first():
        try:
            result = function()
        except Exception as error:
            failure = error
    if any_process(failure is not None):
        raise failure or ProcessesError("Process 0 stopped, its message says why.")
    return result


def any_process(flag: bool) -> bool:
    """Whether `flag` is true in any of them."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def from_first(tree: Any, like: Any) -> Any:
    """Process 0's pytree of arrays in all of them.

    Args:
        tree: read on process 0 alone.
        like: its ShapeDtypeStructs.
    """
    if jax.process_count() == 1:
        return tree
    plain = jax.eval_shape(lambda t: jax.tree.map(_words, t), like)
    mine = (
        jax.tree.map(lambda x: np.asarray(_words(x)), tree)
        if is_first()
        else jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), plain)
    )
    received = multihost_utils.broadcast_one_to_all(mine)
    return jax.tree.map(
        lambda x, data: jax.random.wrap_key_data(jax.numpy.asarray(data)) if is_key(x) else data,
        like,
        received,
    )


def on_host(tree: Any) -> Any:
    """A pytree of global arrays as arrays that each process holds whole; a collective."""
    if jax.process_count() == 1:
        return tree

    def whole(x: jax.Array) -> Any:
        if is_key(x):
            return jax.random.wrap_key_data(jax.numpy.asarray(whole(jax.random.key_data(x))))
        return multihost_utils.process_allgather(x, tiled=True)

    return jax.tree.map(whole, tree)


def _words(x: Any) -> Any:
    return jax.random.key_data(x) if is_key(x) else x
