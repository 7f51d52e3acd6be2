"""Many environments and algorithms, one after the other, with progress and a report after each."""

from collections.abc import Sized
from functools import partial
from pathlib import Path

from rich.console import Console

from lpg.runs.command import progress
from lpg.runs.signals import stop_signals
from metatest.algorithms import Algorithm
from metatest.evaluate import Budget, evaluate, plan, total_updates
from metatest.report.kept import keep
from metatest.report.write import write_report
from metatest.save_agents import film_first, save_lives
from metatest.saved import Saved
from metatest.taking_up import kept_folder
from metatest.tasks import TaskSpec


def evaluate_all(
    run_dir: Path,
    algorithms: list[Algorithm],
    specs: list[TaskSpec],
    budget: Budget,
    console: Console,
    save_agents: bool = False,
) -> bool:
    """Whether all have a result; those that have none are in the report with the reason.

    Args:
        save_agents: leave the agents that are reported as files, and the first one at play.
    """
    sound = True
    with stop_signals() as stop, progress(console) as shown:
        bar = shown.add_task("", total=total_updates(algorithms, specs, budget))

        def advance(updates: int) -> None:
            shown.advance(bar, updates)

        for spec in specs:
            for algorithm in algorithms:
                shown.update(bar, description=f"{spec.name} {algorithm.name}")
                folder = kept_folder(run_dir, algorithm, spec, budget)
                place = partial(_place, folder, stop)
                live = partial(evaluate, algorithm, spec, budget, advance, place)
                if save_agents:
                    steps = plan(algorithm, spec, budget).steps
                    live = partial(
                        live, on_end=partial(save_lives, run_dir, algorithm, spec, steps)
                    )
                done = keep(run_dir, spec.name, algorithm.name, live)
                if save_agents and done:
                    film_first(run_dir, spec.name, algorithm.name)
                sound &= done
            # After each environment, so that an interrupted run has its report.
            write_report(run_dir, [run_dir])
    return sound


def _place(folder: Path, stop: Sized, phase: str) -> Saved:
    return Saved(folder / phase, stop)
