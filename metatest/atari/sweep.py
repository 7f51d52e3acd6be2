"""Many games, one after the other or side by side, with progress; results and report after each."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID, TextColumn

from lpg.runs.command import progress
from lpg.runs.signals import stop_signals
from metatest.algorithms import Algorithm
from metatest.atari.games import Game
from metatest.atari.jobs import Jobs, Tell, play_side_by_side
from metatest.atari.options import AtariOptions
from metatest.atari.run import evaluate_atari
from metatest.atari.taking_up import AtariRun
from metatest.report.kept import keep
from metatest.report.results import Result
from metatest.report.write import write_report


def play_all(
    run_dir: Path,
    algorithms: list[Algorithm],
    games: tuple[Game, ...],
    options: AtariOptions,
    console: Console,
    seed: int = 0,
    save_agents: bool = False,
    jobs: Jobs | None = None,
) -> bool:
    """Every game with every algorithm; what a folder holds already is not played again. Whether all
    have a result.

    Args:
        seed: of every random draw.
        save_agents: leave the agents as files.
        jobs: to live lives side by side; one after the other in this process where not given.
    """
    each = [
        (i, AtariRun(x, game, options, run_dir, seed))
        for game in games
        for i, x in enumerate(algorithms)
    ]
    failed: list[AtariRun] = []

    def finish(run: AtariRun, evaluated: Callable[[], Result]) -> None:
        if not keep(run_dir, run.game.name, run.algorithm.name, evaluated):
            failed.append(run)
        write_report(run_dir, [run_dir])

    total = sum(total_updates(run.options, run.algorithm.learner.fresh) for _, run in each)
    percentage = TextColumn("{task.percentage:.1f}%")
    with progress(console, percentage, live=console.is_terminal) as shown:
        display = _Display(console, shown, shown.add_task("", total=total))
        if jobs is not None:
            tell = Tell(display.began, display.progress, display.over)
            with stop_signals() as stop:
                play_side_by_side(each, jobs, stop, tell, finish, save_agents)
            return not failed
        for _, run in each:
            report = partial(display.progress, f"{run.game.name} {run.algorithm.name}")
            finish(run, partial(evaluate_atari, run, report, save_agents))
    return not failed


def total_updates(options: AtariOptions, fresh: int) -> int:
    """Of one algorithm on one game, trials of arms included."""
    arms = len(options.learning_rates) * len(options.prediction_costs)
    trials = arms * options.num_updates(options.selection_frames, fresh) if arms > 1 else 0
    return trials + options.seeds * options.num_updates(options.frames, fresh)


class _Display:
    """A bar of all updates, and one of each life that is lived in a process of its own."""

    def __init__(self, console: Console, shown: Progress, total: TaskID):
        self._console, self._shown, self._total = console, shown, total
        self._bars: dict[str, TaskID] = {}

    def began(self, who: str, updates: int) -> None:
        self._bars[who] = self._shown.add_task(who, total=updates or None)

    def progress(self, who: str, updates: int, line: dict[str, Any]) -> None:
        said, own = f"{who} {_figures(line)}", self._bars.get(who)
        self._shown.update(self._total, advance=updates)
        self._shown.update(self._total if own is None else own, description=said)
        if own is not None:
            self._shown.update(own, advance=updates)
        if line and not self._console.is_terminal:
            self._console.print(said, soft_wrap=True, markup=False)

    def over(self, who: str) -> None:
        self._shown.remove_task(self._bars.pop(who))


def _figures(line: dict[str, Any]) -> str:
    if not line:
        return ""
    score = "-" if line["score"] is None else f"{line['score']:.1f}"
    return f"{line['frames']:,} frames  score {score}  {line['frames_per_second']:,} frames/s"
