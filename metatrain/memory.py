"""How many lifetimes a device's memory holds at once."""

import os

from lpg.rule import UpdateRule
from metatrain.config import MetaTrainConfig
from metatrain.devices.chunks import possible_chunks
from metatrain.engine import Engine

USABLE = 0.9  # of a device's memory; the rest is the runtime's own


class MemoryTooSmallError(RuntimeError):
    """A program that this device cannot hold; the message names the flag that makes it smaller."""


def fitting_engine(rule: UpdateRule, config: MetaTrainConfig) -> Engine:
    """The engine with as few chunks as suit the device and fit in its memory, or as many as asked.

    The compiler tells what a program needs; one that does not fit costs a compilation. Raises
    MemoryTooSmallError.
    """
    engine = Engine(rule, config)
    available = available_bytes(engine)
    if available is None:
        return engine
    needed = needed_bytes(engine)
    if needed <= available:
        return engine
    asked = config.lifetimes_per_chunk is not None
    possible = [] if asked else possible_chunks(engine.cohorts, engine.mesh.size)
    # What the backward pass keeps shrinks with the chunk; the state, and little else, does not.
    whole = needed * engine.num_chunks
    likely = [n for n in possible if n > engine.num_chunks and whole / n <= available]
    for num_chunks in likely:
        engine = Engine(rule, config, num_chunks=num_chunks)
        needed = needed_bytes(engine)
        if needed <= available:
            return engine
    raise MemoryTooSmallError(
        f"A meta-step needs {needed / 1e9:.1f} GB on a device that has {available / 1e9:.1f} GB "
        "to give; give a smaller --lifetimes-per-chunk or fewer --lifetimes."
    )


def needed_bytes(engine: Engine) -> int:
    """Of `engine.program` on one device, arguments included; 0 where the compiler does not say."""
    used = engine.program.memory_analysis()
    if used is None:
        return 0
    held = used.argument_size_in_bytes + used.output_size_in_bytes - used.alias_size_in_bytes
    return held + used.temp_size_in_bytes


def available_bytes(engine: Engine) -> int | None:
    """What each of the engine's devices may use; None where it does not say."""
    own = engine.mesh.local_devices
    device = own[0]
    if device.platform != "cpu":
        limit = (device.memory_stats() or {}).get("bytes_limit")
        return None if limit is None else int(USABLE * limit)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(USABLE * memory / len(own))
