"""report.html: one file with everything in it, readable without a network."""

import base64
import json
from html import escape
from pathlib import Path
from typing import Any

from metatest.report.comparison import ERRORS, Comparison, by_row, counts
from metatest.report.failures import Failure
from metatest.report.results import Result, arm_words
from metatest.report.statistics import LEVEL, RESAMPLES, Interval, Summary

PICTURES = {
    "curves": ("Learning curves", "Learning curves, one panel an environment"),
    "metaparameters": ("Metaparameters over life", "Metaparameters, a row an algorithm"),
}
MAX_VIDEO_BYTES = 3_000_000

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --dim: #60676f; --line: #d9dde2; --page: #fff;
  --soft: #f4f6f8; --mark: #0b6b5d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --dim: #9aa2ab; --line: #343a41;
  --page: #15181b; --soft: #1e2226; --mark: #5fd0bd; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 2rem 1.2rem 4rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; }
p.lead { color: var(--dim); margin: 0 0 1.2rem; }
code, pre { font: .85rem/1.45 ui-monospace, monospace; }
pre { background: var(--soft); padding: .8rem 1rem; border-radius: .4rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.scroll { overflow-x: auto; max-height: 80vh; }
table { border-collapse: collapse; width: 100%; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
th { position: sticky; top: 0; background: var(--page); text-align: right; font-weight: 600;
  border-bottom: 2px solid var(--line); padding: .45rem .6rem; white-space: nowrap; }
td { text-align: right; padding: .4rem .6rem; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th.text, td.text { text-align: left; }
tr.first td { border-top: 2px solid var(--line); }
td.best { color: var(--mark); font-weight: 650; }
.dim { color: var(--dim); }
img { max-width: 100%; height: auto; background: #fff; border-radius: .4rem; }
.videos { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; }
details { margin: .5rem 0; } summary { cursor: pointer; }
"""


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
    environments = len({s.env for s in summaries})
    tested = [s.algorithm for s in summaries] or [x.algorithm for x in failures]
    title = "Meta-test: " + ", ".join(dict.fromkeys(tested))
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{environments} environment{"s"[: environments != 1]}, fresh agents, last '
        "tenth of their lives</p>",
        _failed(failures),
        "<h2>Results</h2>",
        f'<div class="scroll">{_table(summaries, comparisons)}</div>',
        _verdicts(comparisons),
        _aggregate(pooled),
        *map(_picture, pictures),
        _videos(videos),
        "<h2>Arms</h2>",
        *(_arms(result) for results in runs.values() for result in results),
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


def number(value: float | None) -> str:
    """To as many decimals as its size calls for; a dash for None and NaN."""
    if value is None or value != value:
        return "–"
    return f"{value:.{decimals(value)}f}"


def decimals(value: float) -> int:
    """As many as a figure's size calls for."""
    return 4 if abs(value) < 0.1 else 3 if abs(value) < 10 else 1


def _table(summaries: list[Summary], comparisons: list[Comparison]) -> str:
    several = len({s.run for s in summaries}) > 1
    headings = ["environment", *(["run"] if several else []), "algorithm"]
    text = len(headings)
    headings += ["mean ± s.e.", "verdict", "IQM, 95% interval", "random", "normalised"]
    headings += ["P(better)", "steps", "lr, α<sub>y</sub>", "seeds"]
    compared = by_row(comparisons)
    head = "".join(f"<th{_text(i < text)}>{h}</th>" for i, h in enumerate(headings))
    rows, before = [], None
    for s in summaries:
        env = s.env if s.metric == "return" else f"{s.env} (reward per step)"
        better = "<br>".join(
            f"{_interval(v)} vs {escape(name)}" for name, v in s.improvement.items()
        )
        seeds = f"{s.seeds}" + (f", {s.diverged} diverged" if s.diverged else "")
        cells = [escape(env) if s.env != before else ""]
        cells += ([escape(s.run)] if several else []) + [escape(s.algorithm)]
        verdict = "<br>".join(map(_verdict, compared.get((s.run, s.env, s.algorithm), ())))
        figures = [_with_dim(number(s.mean), f"± {number(s.standard_error)}"), verdict]
        figures += [_with_dim(number(s.iqm.value), _bounds(s.iqm)), number(s.random)]
        figures += [number(s.normalised_mean), better or "–", f"{s.steps:,}"]
        figures += [arm_words(s.learning_rate, s.prediction_cost), seeds]
        best = _is_best(s)
        row = "".join(f'<td class="text">{c}</td>' for c in cells)
        row += "".join(
            f"<td{' class=' + chr(34) + 'best' + chr(34) if best and i == 0 else ''}>{f}</td>"
            for i, f in enumerate(figures)
        )
        rows.append(
            f"<tr{'' if s.env == before else ' class=' + chr(34) + 'first' + chr(34)}>{row}</tr>"
        )
        before = s.env
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _text(yes: bool) -> str:
    return ' class="text"' if yes else ""


def _is_best(summary: Summary) -> bool:
    """Better than every other at equal steps, by more than the interval's width of doubt."""
    others = summary.improvement.values()
    return (
        summary.equal_budgets
        and bool(others)
        and all(v.low is not None and v.low > 0.5 for v in others)
    )


def _verdict(c: Comparison) -> str:
    if c.difference is None or c.standard_error is None:
        return escape(c.words())
    difference = f"{'−' if c.difference < 0 else '+'}{number(abs(c.difference))}"
    return _with_dim(escape(c.words()), f"{difference} ± {number(c.standard_error)}")


def _with_dim(text: str, beside: str) -> str:
    return f"{text} <span class=dim>{beside}</span>"


def _verdicts(comparisons: list[Comparison]) -> str:
    sentences = [
        f"{row['algorithm']} against {row['baseline']}: better on {row['better']}, equal on "
        f"{row['equal']}, worse on {row['worse']}"
        + (f", undecided on {row['undecided']}" if row["undecided"] else "")
        for row in counts(comparisons)
    ]
    return f"<p>{'<br>'.join(map(escape, sentences))}</p>" if sentences else ""


def _interval(interval: Interval) -> str:
    if interval.low is None:
        return f"{interval.value:.2f}"
    return _with_dim(f"{interval.value:.2f}", f"[{interval.low:.2f}, {interval.high:.2f}]")


def _bounds(interval: Interval) -> str:
    return "–" if interval.low is None else f"{number(interval.low)} … {number(interval.high)}"


def _aggregate(pooled: dict[str, Interval]) -> str:
    if not pooled:
        return ""
    rows = "".join(
        f'<tr><td class="text">{escape(name)}</td><td>{number(v.value)}</td>'
        f"<td>{_bounds(v)}</td></tr>"
        for name, v in pooled.items()
    )
    return (
        "<h2>Over all environments with references</h2><p class=dim>Interquartile mean of "
        "(return − random) / (reference − random).</p><table><thead><tr><th class=text>algorithm"
        f"</th><th>IQM</th><th>95% interval</th></tr></thead><tbody>{rows}</tbody></table>"
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


def _arms(result: Result) -> str:
    chosen = result.learning_rate, result.prediction_cost
    metric = result.selection_metric or "score"
    rows = "".join(
        f"<tr><td>{lr:g}</td><td>{'' if cost is None else f'{cost:g}'}</td>"
        f"<td{' class=best' if (lr, cost) == chosen else ''}>"
        f"{'diverged' if x is None else number(x)}</td>"
        f"<td>{number(error[0] if error else None)}</td></tr>"
        for lr, cost, x, *error in result.selection
        if lr is not None
    )
    return (
        f"<details><summary>{escape(result.env)}, {escape(result.algorithm)}: "
        f"{len(result.selection)} arms, {result.num_envs} environments, γ {result.gamma:g}, "
        f"rewards × {result.reward_scale:g}</summary><table><thead><tr><th>lr</th>"
        f"<th>α<sub>y</sub></th><th>late {metric} on selection seeds</th><th>s.e.</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></details>"
    )


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
        f"parameters, SHA-256 of its tensors <code>{escape(str(rule.get('sha256'))[:16])}…</code>"
        "</p>"
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
        "pairs of seeds in which this algorithm's is ahead, ties by half. A mean is marked where "
        "the interval of P(better) against every other algorithm lies above one half and all were "
        "given the same steps.</p>"
    )


def _data(path: Path, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
