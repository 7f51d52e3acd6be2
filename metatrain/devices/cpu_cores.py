"""A CPU's cores as devices, each with its share of the lifetimes.

Most of a small agent's work are programs too short for XLA to cut up among threads; a device a core
keeps all cores busy (docs/performance.md). To be called before anything else touches a device.
"""

import os

import jax

from lpg.platform import cores

FLAG = "xla_force_host_platform_device_count"


def use_every_core() -> None:
    """One CPU device a core, unless the user chose a number by JAX's own setting or XLA's flag."""
    chosen = jax.config.values["jax_num_cpu_devices"] >= 0
    if not chosen and FLAG not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", cores())
