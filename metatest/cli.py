"""The command `metatest`: train fresh agents with a frozen rule, beside baselines."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from envs.suite import get_row
from lpg.compilation_cache import enable_compilation_cache
from lpg.learned_rule import LPG
from lpg.storage import load_rule
from metatest.evaluate import Algorithm, Budget, a2c, evaluate, total_updates
from metatest.report import as_table, draw_curves
from metatest.results import Result, append_result

BASELINES = {"a2c": a2c}


@dataclass(frozen=True)
class Command:
    """Train fresh agents with a learned rule for whole lifetimes and compare with baselines."""

    rule: str
    """A .safetensors file that metatrain wrote, or the name of a shipped rule (lpg-tabular)."""
    envs: tuple[str, ...]
    """Environments by name, of the fifteen of Oh et al. 2020, appendix A."""
    run_dir: Path
    """Where results.jsonl and the curves go."""
    seeds: int = 8
    """Fresh agents whose results are reported."""
    selection_seeds: int = 1
    """Agents per arm on which the best arm is chosen; never among those reported."""
    updates: int | None = None
    """Agent updates of one life; Table 3's lifetime where not given."""
    baselines: tuple[str, ...] = ()
    """Algorithms to run beside the rule, on the same agents and learning-rate arms: a2c."""
    num_envs: int = 64
    """Parallel environments per agent (Table 2: 64)."""
    gamma: float = 0.995
    """Discount factor of every algorithm (Table 2: 0.99 or 0.995)."""
    seed: int = 0
    """Of every random draw."""


def main() -> None:
    """Exit codes: 0 done, 2 bad input, 1 agents that diverged or results that found no place."""
    command = tyro.cli(Command, prog="metatest")
    console = Console()
    try:
        algorithms = _algorithms(command)
        for name in command.envs:
            get_row(name)
        budget = Budget(
            command.seeds, command.selection_seeds, command.updates, command.num_envs,
            gamma=command.gamma, seed=command.seed,
        )  # fmt: skip
    except ValueError as error:
        sys.exit(_fail(error, 2))
    enable_compilation_cache()
    try:
        results = _evaluate_all(command, algorithms, budget, console)
    except FloatingPointError as error:
        sys.exit(_fail(error, 1))
    except OSError as error:
        sentence = (
            f"Cannot write to {command.run_dir} ({error.strerror}); choose another --run-dir."
        )
        sys.exit(_fail(sentence, 1))
    console.print(as_table(results))
    console.print(f"Curves: {command.run_dir / 'curves.png'}")


def _algorithms(command: Command) -> list[Algorithm]:
    if not command.envs:
        raise ValueError("Name at least one environment with --envs.")
    unknown = [name for name in command.baselines if name not in BASELINES]
    if unknown:
        raise ValueError(f"Unknown baseline {unknown[0]!r}; known are {', '.join(BASELINES)}.")
    file = load_rule(command.rule)
    rule = LPG.from_architecture(file.architecture)
    _check_shapes(command.rule, rule, file.params)
    learned = Algorithm("lpg", rule, jax.tree.map(jax.numpy.asarray, file.params), True)
    return [learned, *(BASELINES[name]() for name in command.baselines)]


def _check_shapes(name: str, rule: LPG, params: Any) -> None:
    expected = jax.tree.map(lambda x: x.shape, jax.eval_shape(rule.init, jax.random.key(0)))
    if jax.tree.map(lambda x: x.shape, params) != expected:
        raise ValueError(
            f"The tensors in {name} do not have the shapes that its header's architecture "
            "implies; take an intact copy of the rule."
        )


def _evaluate_all(
    command: Command, algorithms: list[Algorithm], budget: Budget, console: Console
) -> list[Result]:
    command.run_dir.mkdir(parents=True, exist_ok=True)
    (command.run_dir / "results.jsonl").write_text("")
    results: list[Result] = []
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f}%"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=total_updates(algorithms, command.envs, budget))
        for name in command.envs:
            for algorithm in algorithms:
                progress.update(bar, description=f"{name} {algorithm.name}")
                result = evaluate(algorithm, name, budget, lambda n: progress.advance(bar, n))
                append_result(command.run_dir, result)
                results.append(result)
                draw_curves(results, command.run_dir / "curves.png")
    return results


def _fail(error: Exception | str, code: int) -> int:
    print(f"metatest: {error}", file=sys.stderr)
    return code
