"""What a meta-test leaves: curves, summary.json and report.html."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from lpg.files.storage import write_atomically
from metatest.report.comparison import Comparison, compare, counts
from metatest.report.curves import draw_curves
from metatest.report.failures import load_failures
from metatest.report.html import page
from metatest.report.results import load_results
from metatest.report.run_record import read_record
from metatest.report.statistics import Summary, aggregate, summarise
from metatest.report.traces import draw_traces


class Report(NamedTuple):
    """What the figures of a report are."""

    summaries: list[Summary]
    comparisons: list[Comparison]


def write_report(output: Path, run_dirs: list[Path]) -> Report:
    """Write curves.png, summary.json and report.html to `output` from what the runs hold, and
    metaparameters.png where agents tuned themselves; pictures also as PDF.

    Raises ValueError for a run that cannot be read, OSError where `output` refuses.
    """
    names = _names(run_dirs)
    runs = {name: load_results(path) for name, path in zip(names, run_dirs, strict=True)}
    failures = [failure for path in run_dirs for failure in load_failures(path)]
    if not any(runs.values()) and not failures:
        raise ValueError(f"There are no results in {run_dirs[0]} yet; run metatest first.")
    records = {name: read_record(path) for name, path in zip(names, run_dirs, strict=True)}
    summaries, comparisons, pooled = summarise(runs), compare(runs), aggregate(runs)
    output.mkdir(parents=True, exist_ok=True)
    pictures = []
    if any(runs.values()):
        pictures.append(output / "curves.png")
        draw_curves(runs, pictures[0])
    numbers: dict[str, Any] = {"rows": [asdict(s) for s in summaries]}
    numbers["comparisons"] = [asdict(c) for c in comparisons]
    numbers["verdicts"] = counts(comparisons)
    numbers["aggregate"] = [{"algorithm": k, **asdict(v)} for k, v in pooled.items()]
    write_atomically(output / "summary.json", (json.dumps(numbers, indent=1) + "\n").encode())
    videos = [gif for path in run_dirs for gif in sorted((path / "videos").glob("*.gif"))]
    traces = output / "metaparameters.png"
    if draw_traces(runs, traces):
        pictures.append(traces)
    text = page(runs, records, summaries, comparisons, pooled, failures, pictures, videos)
    write_atomically(output / "report.html", text.encode())
    return Report(summaries, comparisons)


def _names(run_dirs: list[Path]) -> list[str]:
    """The directories' own names, with their parents' where these are not unique."""
    names = [path.resolve().name for path in run_dirs]
    if len(set(names)) < len(names):
        names = [str(path) for path in run_dirs]
    return names
