"""What a meta-step would take on an H100 or H200, by its compiled program: no GPU is needed.

    pip install -e '.[hopper]'
    python scripts/compile_for_gpu.py --preset paper
    python scripts/compile_for_gpu.py --preset tabular --envs dense --lifetimes 64 --card h200

XLA compiles the program for the card; every kernel of it is then counted as max(bytes / bandwidth,
FLOP / rate) + launch. docs/performance.md says how far to trust the sum. Options not listed
by --help are `metatrain`'s own.
"""

import json
import os
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

os.environ["JAX_PLATFORMS"] = "cpu"  # the card is described, not looked for
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA complains of the driver that is not there

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import tyro  # noqa: E402
from foretell import CARDS, Forecast, forecast  # noqa: E402
from hlo_costs import kernels  # noqa: E402
from hlo_program import parse  # noqa: E402
from jax.experimental import topologies  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from lpg.files.storage import write_atomically  # noqa: E402
from lpg.runs.tables import print_table  # noqa: E402
from metatrain import cli  # noqa: E402
from metatrain.config import MetaTrainConfig  # noqa: E402
from metatrain.engine import Engine  # noqa: E402

DESCRIPTIONS = Path(__file__).parent / "cards"  # of the cards, as XLA writes them
PLUGINS = ("jax-cuda13-plugin", "jax-cuda13-pjrt")


@dataclass(frozen=True)
class Options:
    card: Literal["h100", "h200"] = "h100"
    chunks: int = 1
    """That the lifetimes of every cohort are lived in, one after the other."""
    top: int = 25
    """Stages and kernels that are listed."""
    output: Path | None = None
    """JSON: all that is printed, and every kernel."""
    program: Path | None = None
    """The compiled program's text."""


def device(card: str) -> Any:
    """A card that is not here. Raises ValueError without what compiles for it."""
    try:
        other = [name for name in PLUGINS if version(name) != jax.__version__]
    except PackageNotFoundError as error:
        raise ValueError(
            f"{error.name} is not installed, which compiles for GPUs; "
            "pip install 'lpg-engine[hopper]' brings it."
        ) from error
    if other:
        raise ValueError(
            f"{other[0]} is {version(other[0])} and jax {jax.__version__}; they must be of one "
            f"version: pip install {other[0]}=={jax.__version__}."
        )
    assemblers = [str(p) for folder in sys.path for p in Path(folder).glob("nvidia/*/bin")]
    os.environ["PATH"] = os.pathsep.join([*assemblers, os.environ["PATH"]])
    described = (DESCRIPTIONS / f"{card}.txtpb").read_text()
    return topologies.get_topology_desc(
        platform="cuda", topology_name=card, topology="1x1x1", target_config=described
    ).devices[0]


def compiled(config: MetaTrainConfig, card: str, chunks: int) -> tuple[jax.stages.Compiled, float]:
    """One meta-step's program for a card, and the seconds that compiling it took."""
    engine = Engine(config.rule, config, devices=[device(card)], num_chunks=chunks)
    began = time.monotonic()
    program = engine.run.lower(engine.like(), jnp.int32(1)).compile()
    return program, time.monotonic() - began


def as_record(
    config: MetaTrainConfig, options: Options, program: jax.stages.Compiled, found: Forecast
) -> dict[str, Any]:
    memory = program.memory_analysis()
    assert memory is not None
    interactions = config.interactions_per_meta_step
    return {
        "card": options.card,
        "environments": list(config.envs),
        "lifetimes": config.lifetimes,
        "chunks": options.chunks,
        "interactions_per_meta_step": interactions,
        "interactions_per_second": interactions / found.seconds,
        "state_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        **found.as_record(),
    }


def show(record: dict[str, Any], top: int, console: Console) -> None:
    """Print what a user asks first, then where the time would go."""
    gigabytes = (record[name] / 1e9 for name in ("state_bytes", "temporary_bytes"))
    console.print(
        f"{record['card']}: at least {record['milliseconds']:.1f} ms a meta-step, at most "
        f"{record['interactions_per_second'] / 1e6:.1f}M interactions/s "
        f"({record['launches']:,} launches, {record['bytes'] / 1e9:.1f} GB moved, "
        f"{record['flop'] / 1e12:.2f} TFLOP); state {next(gigabytes):.2f} GB, temporaries "
        f"{next(gigabytes):.2f} GB",
        soft_wrap=True,
    )
    for title, key in (("by stage", "stages"), ("by kernel", "kernels")):
        table = Table("ms", "times", "GB", "TFLOP", "where", title=title)
        for row in record[key][:top]:
            cells = f"{row['milliseconds']:.2f}", f"{row['times']:,}", f"{row['bytes'] / 1e9:.2f}"
            table.add_row(*cells, f"{row['flop'] / 1e12:.3f}", row["where"])
        print_table(table)


def main() -> None:
    options, others = tyro.cli(Options, description=__doc__, return_unknown_args=True)
    console = Console()
    try:
        config = cli.parse(others).config
        console.print(f"Compiling for {CARDS[options.card].name}; minutes, for large presets.")
        program, seconds = compiled(config, options.card, options.chunks)
    except ValueError as error:
        sys.exit(f"compile_for_gpu: {error}")
    text = program.as_text()
    assert text is not None
    record = as_record(config, options, program, forecast(kernels(parse(text)), options.card))
    record["compile_seconds"] = seconds
    show(record, options.top, console)
    if options.output is not None:
        write_atomically(options.output, json.dumps(record, indent=1).encode())
    if options.program is not None:
        write_atomically(options.program, text.encode())


if __name__ == "__main__":
    main()
