"""Many devices: one mesh axis, `lifetimes`, over which every cohort is cut into equal shares.

eta, the bandits and the counters are replicated. What crosses devices in a meta-step is the mean
meta-gradient and a few numbers per lifetime for the bandit and the metrics.
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from metatrain.cohort import Cohort

AXIS = "lifetimes"
REPLICATED: Any = PartitionSpec()
SHARED: Any = PartitionSpec(AXIS)


@dataclass(frozen=True)
class Distributed:
    """Several processes, on one host or many, as `jax.distributed.initialize` takes them."""

    coordinator: str | None = None
    """host:port of process 0; given to every process."""
    num_processes: int | None = None
    """How many processes there are in all."""
    process_id: int | None = None
    """This process, from 0."""
    cluster: bool = False
    """Take all three from the cluster's environment variables (Slurm, Open MPI, cloud TPU)."""

    def __post_init__(self):
        given = [x is not None for x in (self.coordinator, self.num_processes, self.process_id)]
        if any(given) and not all(given):
            raise ValueError(
                "Give --distributed.coordinator, --distributed.num-processes and "
                "--distributed.process-id together."
            )

    def initialize(self) -> None:
        """Before anything else touches a device. Does nothing for a single process."""
        if self.coordinator is not None:
            jax.distributed.initialize(self.coordinator, self.num_processes, self.process_id)
        elif self.cluster:
            jax.distributed.initialize()


def make_mesh(cohorts: tuple[Cohort, ...], devices: list[Any] | None = None) -> Mesh:
    """The given devices in one row; by default as many as share every cohort evenly.

    Raises ValueError where the given ones, or those of several processes, cannot.
    """
    if devices is None and jax.process_count() == 1:
        usable = [n for n in range(1, jax.device_count() + 1) if _uneven(cohorts, n) is None]
        return Mesh(np.array(jax.devices()[: usable[-1]]), (AXIS,))
    found = np.array(jax.devices() if devices is None else devices)
    uneven = _uneven(cohorts, found.size)
    if uneven is not None:
        raise ValueError(
            f"The {uneven.num_lifetimes} lifetimes of {', '.join(uneven.names)} cannot be shared "
            f"evenly by {found.size} devices; choose --lifetimes so that each environment has a "
            f"multiple of {found.size}."
        )
    return Mesh(found, (AXIS,))


def _uneven(cohorts: tuple[Cohort, ...], num_devices: int) -> Cohort | None:
    return next((c for c in cohorts if c.num_lifetimes % num_devices), None)


def local_slots(cohort: Cohort) -> Array:
    """i32 [L / devices]: places in the cohort of this device's lifetimes; inside shard_map."""
    share = cohort.num_lifetimes // jax.lax.axis_size(AXIS)
    return jax.lax.axis_index(AXIS) * share + jax.numpy.arange(share)


def gather(tree: Any) -> Any:
    """From every device's [L / devices] leaves to all [L], the same on every device."""
    return jax.tree.map(lambda x: jax.lax.all_gather(x, AXIS, tiled=True), tree)


def place(tree: Any, mesh: Mesh, specs: Any) -> Any:
    """Host arrays, the same in every process, as arrays laid over the mesh.

    Args:
        specs: a prefix of `tree` with a PartitionSpec at its leaves.
    """

    def put(spec: PartitionSpec, part: Any) -> Any:
        return jax.tree.map(lambda x: _put(x, NamedSharding(mesh, spec)), part)

    return jax.tree.map(put, specs, tree, is_leaf=lambda x: isinstance(x, PartitionSpec))


def _put(x: Any, sharding: NamedSharding) -> Array:
    if jax.process_count() == 1:
        return jax.device_put(x, sharding)
    if jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key):
        words = np.asarray(jax.random.key_data(x))
        return jax.random.wrap_key_data(_put(words, sharding))
    host = np.asarray(x)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])
