"""Many devices: one mesh axis, `lifetimes`, over which every cohort is cut into equal shares.

eta, the bandits and the counters are replicated. What crosses devices in a meta-step is the mean
meta-gradient and a few numbers per lifetime for the bandit and the metrics.
"""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from metatrain.cohort import Cohort

AXIS = "lifetimes"
REPLICATED: Any = PartitionSpec()
SHARED: Any = PartitionSpec(AXIS)
LLVM_LEVEL = "xla_backend_optimization_level"


class UnevenLifetimesError(ValueError):
    """Lifetimes that the devices cannot share evenly."""


def make_mesh(cohorts: tuple[Cohort, ...], devices: list[Any] | None = None) -> Mesh:
    """The given devices in one row; by default as many of each process as share cohorts evenly.

    Raises UnevenLifetimesError where the given ones, or one of each process, cannot.
    """
    found = np.array(even_devices(cohorts) if devices is None else devices)
    uneven = _uneven(cohorts, found.size)
    if uneven is not None:
        raise UnevenLifetimesError(
            f"The {uneven.num_lifetimes} lifetimes of {', '.join(uneven.names)} cannot be shared "
            f"evenly by {found.size} devices; choose --lifetimes so that each environment has a "
            f"multiple of {found.size}."
        )
    return Mesh(found, (AXIS,))


def platform_of(mesh: Mesh) -> str:
    """Of the mesh's devices, which need not be here."""
    return mesh.devices.flat[0].platform


def even_devices(cohorts: tuple[Cohort, ...]) -> list[Any]:
    """The same number of every process, the largest that shares every cohort evenly, else one."""
    per_process = [
        [d for d in jax.devices() if d.process_index == p] for p in range(jax.process_count())
    ]
    fewest = min(map(len, per_process))
    even = [n for n in range(1, fewest + 1) if _uneven(cohorts, n * len(per_process)) is None]
    return [device for own in per_process for device in own[: max(even, default=1)]]


def _uneven(cohorts: tuple[Cohort, ...], num_devices: int) -> Cohort | None:
    return next((c for c in cohorts if c.num_lifetimes % num_devices), None)


def compiler_options(platform: str) -> dict[str, Any]:
    """On a CPU the first of LLVM's levels, unless XLA_FLAGS choose one: a fifth less compiling for
    code as fast as the default's (docs/performance.md)."""
    chosen = LLVM_LEVEL in os.environ.get("XLA_FLAGS", "")
    return {LLVM_LEVEL: 1} if platform == "cpu" and not chosen else {}


def local_slots(cohort: Cohort) -> Array:
    """i32 [L / devices]: places in the cohort of this device's lifetimes; inside shard_map."""
    share = cohort.num_lifetimes // jax.lax.axis_size(AXIS)
    return jax.lax.axis_index(AXIS) * share + jnp.arange(share)


def total(tree: Any) -> Any:
    """The sum over devices, by one all-reduce."""
    flat, unravel = ravel_pytree(tree)
    return unravel(jax.lax.psum(flat, AXIS))


def gather(tree: Any) -> Any:
    """From every device's [L / devices] leaves to all [L], the same on every device.

    Leaves are booleans or have 32 bits, and travel as one array: one collective, whatever the tree.
    """
    leaves, structure = jax.tree.flatten(tree)
    words = jnp.concatenate([_as_words(x).reshape(-1) for x in leaves])
    everyone = jax.lax.all_gather(words, AXIS)
    sizes = np.cumsum([x.size for x in leaves])[:-1]
    parts = jnp.split(everyone, sizes, axis=1)
    whole = [
        _from_words(part, x.dtype).reshape((-1, *x.shape[1:]))
        for part, x in zip(parts, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, whole)


def _as_words(x: Array) -> Array:
    if jnp.issubdtype(x.dtype, jnp.bool_):
        return x.astype(jnp.uint32)
    return jax.lax.bitcast_convert_type(x, jnp.uint32)


def _from_words(words: Array, dtype: Any) -> Array:
    if jnp.issubdtype(dtype, jnp.bool_):
        return words.astype(bool)
    return jax.lax.bitcast_convert_type(words, dtype)


def place(tree: Any, mesh: Mesh, specs: Any) -> Any:
    """Host arrays, the same in every process, as arrays laid over the mesh.

    Args:
        specs: a prefix of `tree` with a PartitionSpec at its leaves.
    """
    return _map_with_sharding(_put, tree, mesh, specs)


def describe(tree: Any, mesh: Mesh, specs: Any) -> Any:
    """As `place`, of ShapeDtypeStructs."""

    def described(x: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    return _map_with_sharding(described, tree, mesh, specs)


def _map_with_sharding(function: Any, tree: Any, mesh: Mesh, specs: Any) -> Any:
    def over(spec: PartitionSpec, part: Any) -> Any:
        return jax.tree.map(lambda x: function(x, NamedSharding(mesh, spec)), part)

    return jax.tree.map(over, specs, tree, is_leaf=lambda x: isinstance(x, PartitionSpec))


def _put(x: Any, sharding: NamedSharding) -> Array:
    if jax.process_count() == 1:
        return jax.device_put(x, sharding)
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        words = np.asarray(jax.random.key_data(x))
        return jax.random.wrap_key_data(_put(words, sharding))
    host = np.asarray(x)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])
