"""The kernels that a meta-step spends its time in, by JAX's profiler.

    python scripts/profile_kernels.py --preset paper --lifetimes 15
    python scripts/profile_kernels.py --preset quick --top 40

Times are summed over all threads or streams and hold no time twice: a loop's own time is without
its body's. On a CPU, what the compiled program does not name is waiting and launching.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro

from metatrain.devices.cpu_cores import use_every_core

use_every_core()  # before the imports below, which take a device

import jax  # noqa: E402
from hlo_program import parse  # noqa: E402
from preset_options import PresetOptions  # noqa: E402

from metatrain.engine import Engine  # noqa: E402


@dataclass(frozen=True)
class Profile(PresetOptions):
    meta_steps: int = 3
    """Profiled, after one that is not."""
    top: int = 25
    """Lines."""


@dataclass(frozen=True)
class Event:
    name: str
    start: float  # ms, as `end`
    end: float


def self_times(events: Iterable[Event]) -> Iterator[tuple[str, float]]:
    """Each event of one thread with its time in ms, less that of the events within it."""
    open_events: list[tuple[Event, list[float]]] = []
    for event in sorted(events, key=lambda e: (e.start, -e.end)):
        while open_events and open_events[-1][0].end <= event.start:
            ended, within = open_events.pop()
            yield ended.name, ended.end - ended.start - sum(within)
        if open_events:
            around, within = open_events[-1]
            within.append(min(event.end, around.end) - event.start)
        open_events.append((event, []))
    for ended, within in open_events:
        yield ended.name, ended.end - ended.start - sum(within)


def threads(folder: str) -> Iterator[list[Event]]:
    """The events of each thread or stream that ran operations."""
    path = next(Path(folder).rglob("*.xplane.pb"))
    planes = list(jax.profiler.ProfileData.from_file(str(path)).planes)
    devices = [plane for plane in planes if plane.name.startswith("/device:")]
    lines = [line for plane in devices or planes for line in plane.lines]
    # A TPU's events come again by step and by module.
    for line in [line for line in lines if line.name == "XLA Ops"] or lines:
        yield [
            Event(
                str(dict(event.stats).get("hlo_op", event.name)),
                event.start_ns / 1e6,
                (event.start_ns + event.duration_ns) / 1e6,
            )
            for event in line.events
        ]


def sources(program: str) -> dict[str, str]:
    """Of each operation of a compiled program's text, where it comes from in ours, or ""."""
    computations = parse(program).computations.values()
    return {name: each.label for within in computations for name, each in within.items()}


def main() -> None:
    profile = tyro.cli(Profile)
    config = profile.config()
    engine = Engine(config.rule, config)
    state = engine.init(jax.random.key(0))
    state, _ = jax.block_until_ready(engine.run(state, 1))
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            jax.block_until_ready(engine.run(state, profile.meta_steps))
        source_of = sources(engine.program.as_text())
        spent, calls = Counter[str](), Counter[str]()
        for events in threads(folder):
            for name, milliseconds in self_times(events):
                spent[name] += milliseconds / profile.meta_steps
                calls[name] += 1
    # A CPU's threads also record what runs the program; an accelerator's streams only kernels,
    # some under names of their own.
    on_cpu = engine.platform == "cpu"
    kernels = Counter({x: spent[x] for x in spent if x in source_of or not on_cpu})
    total, rest = kernels.total(), spent.total() - kernels.total()
    print(f"Of a meta-step, over all threads or streams: {total:.1f} ms in {len(kernels)} kernels,")
    print(f"{rest:.1f} ms of waiting and launching.")
    print(" share       ms   calls  kernel and source")
    for name, milliseconds in kernels.most_common(profile.top):
        print(
            f"{milliseconds / total:6.1%} {milliseconds:8.1f} "
            f"{calls[name] / profile.meta_steps:7.0f}  {name} {source_of.get(name, '')[-100:]}"
        )


if __name__ == "__main__":
    main()
