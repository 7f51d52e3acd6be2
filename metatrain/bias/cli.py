"""`python -m metatrain.bias`: the bias and variance of meta-gradients (Liu et al. 2022)."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, cast

import jax
import tyro
from rich.console import Console

from lpg.files.storage import write_atomically
from lpg.runs.command import enable_compilation_cache
from lpg.runs.owner import OwnedError, owned
from lpg.runs.seed import refuse_seed
from lpg.runs.streams import fail
from metatrain.bias.accuracy import Setting, measure, summary
from metatrain.bias.kept import Cells, compute
from metatrain.bias.learning_curves import CURVES, draw_curves
from metatrain.bias.lpg_plots import draw as draw_learned
from metatrain.bias.lpg_study import cells_of
from metatrain.bias.plots import draw
from metatrain.bias.study import FILES, grids
from metatrain.bias.tables import table

COMMAND = "metatrain.bias"


@dataclass(frozen=True)
class Accuracy:
    """Compare one kind of estimate with the exact meta-gradient, on random tabular MDPs."""

    output: Path
    """JSON: `acc` (Eq. 68), `std_sum` and `trace_variance`, means over MDPs, and more."""
    problem: str = "maml"
    """maml, lirpg or mgrl."""
    estimator: str = "autodiff"
    """autodiff, lvc, loaded_dice, dice or score."""
    roles: str = "SSS"
    """Whether composition, Hessian and outer gradient are sampled (S) or exact (E)."""
    inner_steps: int = 1
    """K, the agent's updates."""
    trajectories: int = 32
    """n, of 20 steps, for every role that is sampled."""
    inner_rate: float = 10.0
    """alpha, of the agent's updates."""
    mdps: int = 10
    """Random MDPs of 20 states and 5 actions."""
    repeats: int = 20
    """Estimates on each of them."""
    value_noise: float = 1.0
    """nu, of the estimated values."""
    seed: int = 0
    """Of MDPs and estimates."""

    def setting(self) -> Setting:
        """Raises ValueError for what cannot be."""
        given = asdict(self)
        del given["output"]
        return Setting(**cast(dict[str, Any], given))


@dataclass(frozen=True)
class Figures:
    """Compute and draw the paper's figures; run again to go on.

    Leaves cells.jsonl, dilemma.jsonl and adaptation.jsonl, one line a setting, each figure as PNG
    and PDF, and the reference, figures of 100 MDPs, as a table.
    """

    run_dir: Path
    """What is there is not computed again."""
    quick: bool = False
    """Three MDPs, five repeats and a few points of each grid."""
    seed: int = 0
    """Of MDPs and estimates."""
    only: tuple[str, ...] = ()
    """Figures by name, else all: figure5 to figure9, composition, hessian, mgrl, reference,
    adaptation."""


@dataclass(frozen=True)
class Learned:
    """How biased LPG's own meta-gradient is, on lives so small that it is known; run again to go
    on.

    Leaves lpg.jsonl, one line a setting, and the figure as PNG and PDF.
    """

    run_dir: Path
    """What is there is not computed again."""
    quick: bool = False
    """Eight lives, four repeats and a few points of each curve."""
    seed: int = 0
    """Of rules, lives and estimates."""


Chosen = (
    Annotated[Accuracy, tyro.conf.subcommand("accuracy")]
    | Annotated[Figures, tyro.conf.subcommand("figures")]
    | Annotated[Learned, tyro.conf.subcommand("lpg")]
)


def main(arguments: list[str]) -> None:
    """Exit codes: 0 done or stopped by a signal, 2 bad input, 1 what failed on the way."""
    command = tyro.cli(cast(Any, Chosen), args=arguments, prog=f"python -m {COMMAND}")
    enable_compilation_cache()
    try:
        with jax.enable_x64(True):
            _run(command)
    except (ValueError, OwnedError) as error:
        sys.exit(fail(COMMAND, error, 2))
    except OSError as error:
        where = command.output if isinstance(command, Accuracy) else command.run_dir
        sys.exit(fail(COMMAND, f"Cannot write to {where} ({error.strerror}).", 1))


def _run(command: Accuracy | Figures | Learned) -> None:
    if isinstance(command, Accuracy):
        run_accuracy(command)
    elif isinstance(command, Figures):
        run_figures(command)
    else:
        run_learned(command)


def run_accuracy(command: Accuracy) -> None:
    """Raises ValueError for bad input, OSError where the output cannot be written."""
    setting = command.setting()
    found = {"setting": asdict(setting), **summary(measure(setting))}
    command.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(command.output, (json.dumps(found, indent=1) + "\n").encode())
    print(", ".join(f"{name} {found[name]:.3g}" for name in ("acc", "std_sum", "trace_variance")))


def run_figures(command: Figures) -> None:
    """Raises as `run_accuracy` does."""
    known = grids(command.quick)
    unknown = [name for name in command.only if name not in known]
    if unknown:
        raise ValueError(f"Unknown figure {unknown[0]!r}; known are {', '.join(known)}.")
    chosen = {
        name: [replace(setting, seed=command.seed) for setting in cells]
        for name, cells in known.items()
        if name in (command.only or known)
    }

    def draw_all(cells: Cells) -> None:
        for name, settings in chosen.items():
            show(name, settings, cells, command.run_dir)

    _in(command.run_dir, lambda: _computed(chosen, command.run_dir), draw_all)


def _in(
    run_dir: Path, computed: Callable[[], Cells | None], shown: Callable[[Cells], None]
) -> None:
    """What is computed in a run directory of one's own, and shown where no signal came."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with owned(run_dir):
        if (cells := computed()) is None:
            print("Stopped; run the same command to go on.")
            return
        shown(cells)
    print(f"Done: {run_dir}")


def _computed(chosen: dict[str, list[Any]], run_dir: Path) -> Cells | None:
    """None where a signal came."""
    cells: Cells = {}
    settings = [setting for figure in chosen.values() for setting in figure]
    for kind, file in FILES.items():
        if not (own := [setting for setting in settings if isinstance(setting, kind)]):
            continue
        found = compute(own, run_dir / file, Console(stderr=True))
        if found is None:
            return None
        cells |= found
    return cells


def show(name: str, settings: list[Any], cells: Cells, run_dir: Path) -> None:
    """Write a figure, or of the reference its table."""
    if name == "reference":
        write_atomically(run_dir / f"{name}.md", table(settings, cells).encode())
    elif name in CURVES:
        draw_curves(CURVES[name], settings, cells, run_dir / f"{name}.png")
    else:
        draw(name, settings, cells, run_dir / f"{name}.png")


def run_learned(command: Learned) -> None:
    """Raises as `run_accuracy` does."""
    refuse_seed(command.seed)
    run_dir, cells = command.run_dir, cells_of(command.quick, command.seed)
    _in(
        run_dir,
        lambda: compute(cells, run_dir / "lpg.jsonl", Console(stderr=True), "cell"),
        lambda found: draw_learned({cell: found[cell] for cell in cells}, run_dir / "lpg.png"),
    )
