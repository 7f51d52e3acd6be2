"""The command `metatest report RUN...`: several runs side by side."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lpg.runs.streams import fail
from metatest.report.console import print_report
from metatest.report.write import write_report


@dataclass(frozen=True)
class ReportCommand:
    """Put finished or running meta-tests side by side in one report.html."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Directories that metatest wrote."""
    output: Path = Path("report")
    """Where report.html, summary.json and the curves go."""


def main(arguments: list[str]) -> int:
    """The exit code: 0 done, 2 a run that cannot be read, 1 no room for the report."""
    command = tyro.cli(ReportCommand, args=arguments, prog="metatest report")
    try:
        if not command.runs:
            raise ValueError("Name at least one run directory: metatest report RUN...")
        report = write_report(command.output, list(command.runs))
    except ValueError as error:
        return fail("metatest report", error, 2)
    except OSError as error:
        sentence = f"cannot write to {command.output} ({error.strerror}); choose another --output."
        return fail("metatest report", sentence, 1)
    print_report(report, command.output)
    return 0
