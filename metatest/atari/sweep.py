"""Many games, one after the other, with progress; results and report after each."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import TextColumn

from lpg.runs.command import progress
from metatest.algorithms import Algorithm
from metatest.atari.games import Game
from metatest.atari.run import AtariOptions, evaluate_atari
from metatest.report.results import append_result
from metatest.report.write import write_report


def play_all(
    run_dir: Path,
    algorithms: list[Algorithm],
    games: tuple[Game, ...],
    options: AtariOptions,
    console: Console,
) -> None:
    """Every game with every algorithm; what a folder holds already is not played again."""
    arms = len(options.learning_rates) * len(options.prediction_costs)
    each = options.seeds * options.num_updates(options.frames)
    each += arms * options.num_updates(options.selection_frames) if arms > 1 else 0
    percentage = TextColumn("{task.percentage:.1f}%")
    with progress(console, percentage, live=console.is_terminal) as shown:
        bar = shown.add_task("", total=each * len(games) * len(algorithms))
        for game in games:
            for algorithm in algorithms:

                def report(updates: int, line: dict[str, Any], who: str = "") -> None:
                    shown.update(bar, advance=updates, description=f"{who} {_figures(line)}")
                    if line and not console.is_terminal:
                        console.print(f"{who} {_figures(line)}")

                who = f"{game.name} {algorithm.name}"
                result = evaluate_atari(
                    algorithm, game, options, run_dir, lambda n, x, who=who: report(n, x, who)
                )
                append_result(run_dir, result)
                write_report(run_dir, [run_dir])


def _figures(line: dict[str, Any]) -> str:
    if not line:
        return ""
    score = "-" if line["score"] is None else f"{line['score']:.1f}"
    return f"{line['frames']:,} frames  score {score}  {line['frames_per_second']:,} frames/s"
