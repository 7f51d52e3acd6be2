"""Many environments and algorithms, one after the other, with progress and a report after each."""

from collections.abc import Sized
from functools import partial
from pathlib import Path

from rich.console import Console

from lpg.runs.command import progress, stop_signals
from metatest.algorithms import Algorithm
from metatest.evaluate import Budget, evaluate, kept_folder, total_updates
from metatest.report.kept import keep
from metatest.report.write import write_report
from metatest.saved import Saved
from metatest.tasks import TaskSpec

STOPPING = "Stopping at the next point; once more to stop at once."


def evaluate_all(
    run_dir: Path,
    algorithms: list[Algorithm],
    specs: list[TaskSpec],
    budget: Budget,
    console: Console,
) -> bool:
    """Whether all have a result; those that have none are in the report with the reason."""
    sound = True
    with stop_signals(STOPPING) as stop, progress(console) as shown:
        bar = shown.add_task("", total=total_updates(algorithms, specs, budget))

        def advance(updates: int) -> None:
            shown.advance(bar, updates)

        for spec in specs:
            for algorithm in algorithms:
                shown.update(bar, description=f"{spec.name} {algorithm.name}")
                folder = kept_folder(run_dir, algorithm, spec, budget)
                live = partial(
                    evaluate, algorithm, spec, budget, advance, partial(_place, folder, stop)
                )
                sound &= keep(run_dir, spec.name, algorithm.name, live)
            # After each environment, so that an interrupted run has its report.
            write_report(run_dir, [run_dir])
    return sound


def _place(folder: Path, stop: Sized, phase: str) -> Saved:
    return Saved(folder / phase, stop)
