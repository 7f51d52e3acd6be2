"""How many lifetimes a device's memory holds at once."""

import os
from collections.abc import Callable
from pathlib import Path

from lpg.rule import UpdateRule
from metatrain.config import MetaTrainConfig
from metatrain.devices.chunks import possible_chunks
from metatrain.devices.live_bytes import device_bytes
from metatrain.engine import Engine

USABLE = 0.9  # of a device's memory; the rest is the runtime's own
DOUBT = 1.25  # by which a program may need more than its trace says
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class MemoryTooSmallError(RuntimeError):
    """A program that this device cannot hold; the message names the flag that makes it smaller."""


def fitting_engine(rule: UpdateRule, config: MetaTrainConfig) -> Engine:
    """The engine with as few chunks as suit the device and fit in its memory, or as many as asked.

    Its trace foretells what a program will need before anything is compiled, and the compiler has
    the last word: one that does not fit costs a compilation. Chunks go by what a device has, not by
    what happens to be free, so that a run that is taken up again has as many. Raises
    MemoryTooSmallError, also where other programs have taken a CPU's memory.
    """
    engine = Engine(rule, config)
    available = available_bytes(engine)
    if available is None:
        return engine
    engine = _cut(engine, lambda e: int(DOUBT * foretold_bytes(e)), available)
    needed = foretold_bytes(engine)
    _refuse_more_than_is_free(engine, needed)
    if needed <= DOUBT * available:  # else no compiler would find otherwise
        engine = _cut(engine, needed_bytes, available)
        needed = needed_bytes(engine)
        if needed <= available:
            return engine
    raise MemoryTooSmallError(
        f"A meta-step needs {needed / 1e9:.1f} GB on a device that has {available / 1e9:.1f} GB "
        "to give; give a smaller --lifetimes-per-chunk or fewer --lifetimes."
    )


def _cut(engine: Engine, told: Callable[[Engine], int], available: int) -> Engine:
    """In as few more chunks as are told to fit; as it is where the user chose their number."""
    asked = engine.config.lifetimes_per_chunk is not None
    possible = [] if asked else possible_chunks(engine.cohorts, engine.mesh.size)
    while (needed := told(engine)) > available:
        more = [n for n in possible if n > engine.num_chunks]
        if not more:
            break
        # What the backward pass keeps shrinks with the chunk; the state, and little else, does not.
        whole = needed * engine.num_chunks
        enough = next((n for n in more if whole <= n * available), more[-1])
        engine = Engine(engine.rule, engine.config, num_chunks=enough)
    return engine


def _refuse_more_than_is_free(engine: Engine, needed: int) -> None:
    free = free_bytes(engine)
    if free is not None and needed > free:
        raise MemoryTooSmallError(
            f"A meta-step needs about {needed / 1e9:.1f} GB on each device, for which "
            f"{free / 1e9:.1f} GB are free; end other programs, or give a smaller "
            "--lifetimes-per-chunk or fewer --lifetimes."
        )


def foretold_bytes(engine: Engine) -> int:
    """About what `engine.program` needs on one device, arguments included, told by its trace."""
    return device_bytes(engine.run.traced.jaxpr.jaxpr)


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
    return int(USABLE * min([memory, *_container_limits()]) / len(own))


def free_bytes(engine: Engine) -> int | None:
    """What each of the engine's CPUs could have at the moment; None for other devices, and where
    the system does not say."""
    own = engine.mesh.local_devices
    told = Path("/proc/meminfo")
    if own[0].platform != "cpu" or not told.exists():
        return None
    lines = dict(line.split(":", 1) for line in told.read_text().splitlines())
    if "MemAvailable" not in lines:
        return None
    return int(lines["MemAvailable"].split()[0]) * 1024 // len(own)


def _container_limits() -> list[int]:
    texts = [Path(limit).read_text().strip() for limit in LIMITS if Path(limit).exists()]
    return [int(text) for text in texts if text.isdigit()]
