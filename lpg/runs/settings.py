"""JAX's switches, which a shell may have set for other programs: those that numbers depend on."""

from collections.abc import Mapping
from typing import Any

import jax

# What each has to be. They change numbers, or keep the programs here from being compiled at all.
NEEDED: dict[str, tuple[Any, ...]] = {
    "jax_enable_x64": (False,),
    "jax_default_prng_impl": ("threefry2x32",),
    "jax_threefry_partitionable": (True,),
    "jax_random_seed_offset": (0,),
    "jax_default_matmul_precision": (None,),
    "jax_numpy_dtype_promotion": ("standard",),
    "jax_disable_jit": (False,),
    "jax_debug_nans": (False,),
    "jax_debug_infs": (False,),
    "jax_debug_key_reuse": (False,),
    "jax_transfer_guard": (None, "allow", "log", "log_explicit"),
    "jax_transfer_guard_host_to_device": (None, "allow", "log", "log_explicit"),
    "jax_transfer_guard_device_to_host": (None, "allow", "log", "log_explicit"),
    "jax_transfer_guard_device_to_device": (None, "allow", "log", "log_explicit"),
}
# Numbers depend on these too, and what is usual is another value in another version of JAX.
LEFT_ALONE = (
    "JAX_SOFTMAX_CUSTOM_JVP",
    "JAX_DISABLE_MOST_OPTIMIZATIONS",
    "JAX_HIGH_DYNAMIC_RANGE_GUMBEL",
    "JAX_OPTIMIZATION_LEVEL",
    "JAX_EXEC_TIME_OPTIMIZATION_EFFORT",
    "JAX_MEMORY_FITTING_EFFORT",
    "JAX_USE_DIRECT_LINEARIZE",
)
WHY = {
    "jax_default_matmul_precision": "precision is chosen by options of this command",
    "jax_debug_nans": "numbers that are not finite are counted, skipped and reported here",
    "jax_debug_infs": "numbers that are not finite are counted, skipped and reported here",
}


def refuse_settings(values: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """ValueError that names a switch with which results would be others, and its value here.

    Args:
        values: of `jax.config`; a switch that this version of JAX lacks is as it should be.
        environment: variables by name.
    """
    for name in LEFT_ALONE:
        if name in environment:
            raise ValueError(
                f"JAX's switch {name} is set to {environment[name]}, with which results could be "
                "others; unset it and run again."
            )
    for name, needed in NEEDED.items():
        value = values.get(name, needed[0])
        value = getattr(value, "value", value)  # of an enumeration
        if value not in needed:
            why = f" ({WHY[name]})" if name in WHY else ""
            remedy = "unset it" if needed[0] is None else f"unset it, or set it to {needed[0]}"
            raise ValueError(
                f"JAX's switch {name.upper()} is set to {value}, with which results would be "
                f"others or none{why}; {remedy}, and run again."
            )


def refuse_platforms() -> None:
    """ValueError where JAX finds none of the devices that it was told to take."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter of platforms without a plugin
        reason = " ".join(str(error).split())[:300] or "it has no such platform here"
        asked = jax.config.values["jax_platforms"]
        raise ValueError(
            f"JAX finds no device ({reason}); JAX_PLATFORMS is {asked!r}: set it to cpu, or unset "
            "it, and run again."
        ) from error
