"""The page docs/results.md: per rule, fresh agents beside baselines, from what metatest wrote.

    python scripts/results_table.py RUN... --probe PROBE_JSON... --output docs/results.md

A RUN is a directory with results.jsonl and command.json, as `metatest --run-dir` leaves it; a
PROBE_JSON is what `metatest probe` writes.
"""

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from lpg.files.storage import write_atomically
from metatest.report.comparison import Comparison, compare, counts
from metatest.report.console import cell
from metatest.report.results import Result, arm_words, load_results
from metatest.report.run_record import read_record
from metatest.report.statistics import Summary, summarise

INTRODUCTION = """\
Fresh agents, trained by the frozen rule or by a baseline for the same number of environment steps.
Figures are mean returns over the last tenth of life ± standard errors over seeds. The best arm
(learning rate, α_y; for A2C the value's weight) of every algorithm is chosen on seeds of its own.
A verdict is better or worse where means differ by more than two standard errors of the difference.
Random and best are the returns of a uniformly random policy and of the reference, where known."""

PROBE_COLUMNS = {
    "long_chains_intact": "`long`, L > 20",
    "long_chains_y_cut": "the same, y cut",
    "short_chains_intact": "`long`, L ≤ 20",
    "collapsed_lives": "lives collapsed",
    "drift": "D(.7)",
    "reward_free_entropy_table": "entropy without reward: table",
    "reward_free_entropy_network": "network",
}


@dataclass(frozen=True)
class Page:
    """Write a page of tables from finished meta-tests and probes."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Directories that metatest wrote; those of one rule share a table."""
    probe: tuple[Path, ...] = ()
    """Files probe.json that metatest probe wrote."""
    output: Path = Path("docs/results.md")
    """The page."""


@dataclass(frozen=True)
class Row:
    """One environment: the rule first, then its baselines, each with its comparison."""

    summaries: list[Summary]
    comparisons: list[Comparison]
    best: float | None  # the reference return


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rows_of(results: list[Result]) -> list[Row]:
    """A row per environment of one run, in its order."""
    runs = {"": results}
    summaries, comparisons = summarise(runs), compare(runs)
    return [
        Row(
            [s for s in summaries if s.env == env],
            [c for c in comparisons if c.env == env],
            next(r.reference_return for r in results if r.env == env),
        )
        for env in dict.fromkeys(r.env for r in results)
    ]


def results_table(rule: str, rows: list[Row]) -> str:
    baselines = list(dict.fromkeys(s.algorithm for row in rows for s in row.summaries[1:]))
    header = ["environment", f"`{rule}`"]
    for name in baselines:
        header += [name, "verdict"]
    header += ["random", "best", "steps", "seeds", f"arms: `{rule}`", *baselines]
    return table(header, [_cells(row, baselines) for row in rows])


def _cells(row: Row, baselines: list[str]) -> list[str]:
    ours, by_name = row.summaries[0], {s.algorithm: s for s in row.summaries[1:]}
    env = f"`{ours.env}`" + ("" if ours.metric == "return" else f" ({ours.metric})")
    cells = [env, cell(ours.mean, ours.standard_error)]
    for name in baselines:
        theirs = by_name.get(name)
        verdict = next((c.verdict or c.words() for c in row.comparisons if c.baseline == name), "")
        cells += ["" if theirs is None else cell(theirs.mean, theirs.standard_error), verdict]
    all_steps = dict.fromkeys(f"{s.steps:,}" for s in row.summaries)
    seeds = dict.fromkeys(_seeds(s) for s in row.summaries)
    levels = [cell(ours.random_return), cell(row.best)]  # returns, whatever the metric
    cells += [*levels, " / ".join(all_steps), " / ".join(seeds), _arm(ours)]
    return cells + [_arm(by_name[name]) if name in by_name else "" for name in baselines]


def _arm(summary: Summary) -> str:
    return arm_words(summary.learning_rate, summary.prediction_cost)


def _seeds(summary: Summary) -> str:
    return f"{summary.seeds}" + (f" ({summary.diverged} diverged)" if summary.diverged else "")


def tally(rule: str, rows: list[Row]) -> list[str]:
    """A sentence per baseline."""
    return [
        f"Against {found['baseline']} `{rule}` is better on {found['better']}, equal on "
        f"{found['equal']}, worse on {found['worse']} of {len(rows)}"
        + (f", undecided on {found['undecided']}." if found["undecided"] else ".")
        for found in counts([c for row in rows for c in row.comparisons])
    ]


def probe_table(paths: tuple[Path, ...]) -> str:
    """Headline figures of probes; ValueError where a file is not one."""
    rows = []
    for path in paths:
        try:
            numbers = json.loads(path.read_text())
            errors = numbers.get("estimates", {})
            name = numbers.get("rule", {}).get("name", path.resolve().parent.name)
            rows.append(
                [f"`{name}`", *(_estimate(numbers[k], errors.get(k)) for k in PROBE_COLUMNS)]
            )
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{path} is not what metatest probe writes ({error!r}).") from error
    return table(["rule", *PROBE_COLUMNS.values()], rows)


def _estimate(value: float | None, estimate: dict[str, Any] | None) -> str:
    return cell(value, (estimate or {}).get("standard_error"))


def page(run_dirs: tuple[Path, ...], probes: tuple[Path, ...], arguments: list[str]) -> str:
    """Markdown. Raises ValueError for runs that cannot be read, and environments met twice."""
    rules: dict[str, list[Row]] = {}
    commands: dict[str, list[str]] = {}
    for path in run_dirs:
        record = read_record(path)
        if not record:
            raise ValueError(f"{path} has no command.json, so nothing says which rule it was.")
        rule = record["rule"]["name"]
        rules.setdefault(rule, []).extend(rows_of(load_results(path)))
        commands.setdefault(rule, []).append(record["command"])
    made = shlex.join(["python", "scripts/results_table.py", *arguments])
    parts = ["# Results", INTRODUCTION, f"Made by `{made}`."]
    for rule, rows in rules.items():
        envs = [row.summaries[0].env for row in rows]
        twice = [env for env in dict.fromkeys(envs) if envs.count(env) > 1]
        if twice:
            raise ValueError(f"Several of the runs of {rule} have {', '.join(twice)}; name one.")
        parts += [f"## `{rule}`", results_table(rule, rows), "\n".join(tally(rule, rows))]
        parts += ["\n".join(["```", *commands[rule], "```"])]
    if probes:
        parts += ["## Predictions and what is done without evidence", probe_table(probes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def main() -> int:
    arguments = tyro.cli(Page)
    try:
        if not arguments.runs:
            raise ValueError("Name at least one run directory.")
        text = page(arguments.runs, arguments.probe, sys.argv[1:])
        write_atomically(arguments.output, text.encode())
    except (ValueError, OSError) as error:
        print(f"results_table: {error}", file=sys.stderr)
        return 2
    print(f"Wrote {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
