"""report.html: one file with everything in it, readable without a network."""

import base64
import json
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from metatest.report.comparison import ERRORS, Comparison, counts
from metatest.report.failures import Failure
from metatest.report.html_table import bounds, pairs_table, results_table, table
from metatest.report.number import number
from metatest.report.results import Result
from metatest.report.statistics import LEVEL, RESAMPLES, Interval, Summary, label, only

PICTURES = {
    "curves": ("Learning curves", "Learning curves, one panel an environment"),
    "metaparameters": ("Metaparameters over life", "Metaparameters, a row an algorithm"),
}
MAX_VIDEO_BYTES = 3_000_000

STYLE = (resources.files("metatest.report") / "page.css").read_text("utf-8")


def page(
    runs: dict[str, list[Result]],
    records: dict[str, dict[str, Any]],
    summaries: list[Summary],
    comparisons: list[Comparison],
    pooled: dict[str, Interval],
    failures: list[Failure],
    pictures: list[Path],
    videos: list[Path],
) -> str:
    """The whole document; pictures and videos are part of it, as data URLs."""
    run, environments = only(runs), len({s.env for s in summaries})
    tested = [s.algorithm for s in summaries] or [x.algorithm for x in failures]
    title = "Meta-test: " + ", ".join(dict.fromkeys(tested))
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{environments} environment{"s"[: environments != 1]}, fresh agents, last '
        "tenth of their lives</p>",
        _failed(failures),
        "<h2>Results</h2>",
        results_table(summaries, comparisons),
        _compared(summaries, comparisons, run),
        _aggregate(pooled),
        *map(_picture, pictures),
        _videos(videos),
        "<h2>Arms</h2>",
        *(_arms(label(n, x.algorithm, run), x) for n, results in runs.items() for x in results),
        *(_record(name, record) for name, record in records.items() if record),
        _notes(),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )


def _failed(failures: list[Failure]) -> str:
    if not failures:
        return ""
    items = "".join(
        f"<li>{escape(x.env)}, {escape(x.algorithm)}: {escape(x.why)}</li>" for x in failures
    )
    return f"<h2>Without a result</h2><ul>{items}</ul>"


def _picture(path: Path) -> str:
    title, alt = PICTURES[path.stem]
    return f'<h2>{title}</h2><img alt="{alt}" src="{_data(path, "png")}">'


def _compared(summaries: list[Summary], comparisons: list[Comparison], run: str) -> str:
    """Algorithms are named without their run where that is `run`."""
    pairs = pairs_table(summaries, comparisons)
    if not pairs:
        return ""
    sentences = [
        f"{label(str(row['run']), str(row['algorithm']), run)} against {row['baseline']}: better "
        f"on {row['better']}, equal on {row['equal']}, worse on {row['worse']}"
        + (f", undecided on {row['undecided']}" if row["undecided"] else "")
        for row in counts(comparisons)
    ]
    return f"<h2>Compared</h2><p>{'<br>'.join(map(escape, sentences))}</p>{pairs}"


def _aggregate(pooled: dict[str, Interval]) -> str:
    if not pooled:
        return ""
    rows = [
        f'<td class="text">{escape(name)}</td><td>{number(v.value)}</td><td>{bounds(v)}</td>'
        for name, v in pooled.items()
    ]
    return (
        "<h2>Over all environments with references</h2><p class=dim>Interquartile mean of "
        "(return − random) / (reference − random).</p>"
        + table(("algorithm", "IQM", "95% interval"), rows)
    )


def _videos(videos: list[Path]) -> str:
    shown = [v for v in videos if v.stat().st_size <= MAX_VIDEO_BYTES]
    if not shown:
        return ""
    figures = "".join(
        f'<figure><img alt="" src="{_data(v, "gif")}"><figcaption class=dim>{escape(v.stem)}'
        "</figcaption></figure>"
        for v in shown
    )
    return f'<h2>Final agents</h2><div class="videos">{figures}</div>'


def _arms(name: str, result: Result) -> str:
    chosen, count = (result.learning_rate, result.prediction_cost), len(result.selection)
    tried = count > 1 or result.selection[0][2] is not None  # a single arm needs no trial
    unit = result.selection_metric or ("score (unit not recorded)" if tried else "return")
    rows = [
        f"<td>{lr:g}</td><td>{'' if cost is None else f'{cost:g}'}</td>"
        f"<td{' class=best' if (lr, cost) == chosen else ''}>"
        f"{number(x) if x is not None else 'diverged' if tried else 'not tried'}</td>"
        f"<td>{number(error[0] if error else None)}</td>"
        for lr, cost, x, *error in result.selection
        if lr is not None
    ]
    lives = f", {result.selection_steps:,} steps" if tried and result.selection_steps else ""
    headings = ("lr", "α<sub>y</sub>", f"late {escape(unit)} on selection seeds{lives}", "s.e.")
    return (
        f"<details><summary>{escape(result.env)}, {escape(name)}: "
        f"{count} arm{'s'[: count != 1]}, {result.num_envs} environments, γ {result.gamma:g}, "
        f"{_rewards(result)}</summary>{table(headings, rows)}</details>"
    )


def _rewards(result: Result) -> str:
    scaled = f"rewards × {result.reward_scale:g}"
    return f"{scaled} from {result.reward_centre:g}" if result.reward_centre else scaled


def _record(name: str, record: dict[str, Any]) -> str:
    rule = record.get("rule", {})
    packages = ", ".join(f"{k} {v}" for k, v in record.get("packages", {}).items())
    return (
        f"<h2>How to repeat it: {escape(name)}</h2><pre>{escape(record.get('command', ''))}</pre>"
        f"<p class=dim>{escape(record.get('date', ''))}, {escape(record.get('device', ''))}, "
        f"Python {escape(record.get('python', ''))}, {escape(packages)}</p>"
        + (_card(rule) if "sha256" in rule else "")
    )


def _card(rule: dict[str, Any]) -> str:
    card = json.dumps({k: rule.get(k) for k in ("architecture", "provenance")}, indent=1)
    return (
        f"<p>Rule <code>{escape(str(rule.get('name')))}</code>, {rule.get('parameters', 0):,} "
        f"parameters, SHA-256 of its tensors <code>{escape(str(rule.get('sha256')))}</code></p>"
        f"<details><summary>Its card</summary><pre>{escape(card)}</pre></details>"
    )


def _notes() -> str:
    return (
        "<h2>How the figures are made</h2><p>Every algorithm's best arm is chosen on seeds that "
        "are not among those reported. Figures are means over the last tenth of life. A verdict "
        "compares the first algorithm with another: better or worse where the means differ by more "
        f"than {ERRORS:g} standard errors of the difference, else equal; none where one was given "
        "more steps than the other by more than an update. IQM is the "
        f"mean of the middle half of the seeds; intervals are {LEVEL:.0%} percentile bootstraps of "
        f"{RESAMPLES:,} resamples of seeds (none for a single seed). P(better) is the share of "
        "pairs of seeds in which the first one is ahead, ties by half. A mean is marked where "
        "the interval of P(better) against every other algorithm lies above one half and all were "
        "given the same steps.</p>"
    )


def _data(path: Path, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
