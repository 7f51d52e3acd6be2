"""Many games, one after the other, with progress; results and report after each."""

from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import TextColumn

from lpg.runs.command import progress
from metatest.algorithms import Algorithm
from metatest.atari.games import Game
from metatest.atari.options import AtariOptions
from metatest.atari.run import evaluate_atari
from metatest.atari.taking_up import AtariRun
from metatest.report.kept import keep
from metatest.report.write import write_report


def play_all(
    run_dir: Path,
    algorithms: list[Algorithm],
    games: tuple[Game, ...],
    options: AtariOptions,
    console: Console,
    seed: int = 0,
    save_agents: bool = False,
) -> bool:
    """Every game with every algorithm; what a folder holds already is not played again. Whether all
    have a result.

    Args:
        seed: of every random draw.
        save_agents: leave the agents as files.
    """
    sound = True
    total = sum(total_updates(options.of(x), x.learner.fresh) for x in algorithms)
    percentage = TextColumn("{task.percentage:.1f}%")
    with progress(console, percentage, live=console.is_terminal) as shown:
        bar = shown.add_task("", total=total * len(games))
        for game in games:
            for algorithm in algorithms:

                def report(updates: int, line: dict[str, Any], who: str = "") -> None:
                    shown.update(bar, advance=updates, description=f"{who} {_figures(line)}")
                    if line and not console.is_terminal:
                        console.print(f"{who} {_figures(line)}", soft_wrap=True, markup=False)

                who = f"{game.name} {algorithm.name}"
                run = AtariRun(algorithm, game, options, run_dir, seed)
                play = partial(evaluate_atari, run, partial(report, who=who), save_agents)
                sound &= keep(run_dir, game.name, algorithm.name, play)
                write_report(run_dir, [run_dir])
    return sound


def total_updates(options: AtariOptions, fresh: int) -> int:
    """Of one algorithm on one game, trials of arms included."""
    arms = len(options.learning_rates) * len(options.prediction_costs)
    trials = arms * options.num_updates(options.selection_frames, fresh) if arms > 1 else 0
    return trials + options.seeds * options.num_updates(options.frames, fresh)


def _figures(line: dict[str, Any]) -> str:
    if not line:
        return ""
    score = "-" if line["score"] is None else f"{line['score']:.1f}"
    return f"{line['frames']:,} frames  score {score}  {line['frames_per_second']:,} frames/s"
