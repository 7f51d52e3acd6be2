"""The tables of report.html: what was measured on every environment, and how algorithms compare."""

from collections.abc import Iterable
from html import escape

from metatest.report.comparison import Comparison, by_row
from metatest.report.number import number
from metatest.report.results import arm_words
from metatest.report.statistics import (
    Interval,
    Summary,
    by_environment,
    label,
    only,
    random_returns,
)

RESULTS = ("environment, algorithm", "return ± s.e.", "verdict", "IQM, 95% interval")
RESULTS += ("normalised", "steps", "lr, α<sub>y</sub>", "seeds")
PAIRS = ("environment, algorithms", "difference ± s.e.", "P(better), 95% interval")
NAMES = ("environment, algorithm", "environment, algorithms", "algorithm", "verdict")
MARKED = "return ± s.e."  # where it is the best


def results_table(summaries: list[Summary], comparisons: list[Comparison]) -> str:
    """A row an algorithm, and one for a random policy where its return was measured."""
    compared, run = by_row(comparisons), only(s.run for s in summaries)
    rows = []
    for env, group in by_environment(summaries).items():
        rows.append(_heading(env, len(RESULTS)))
        for s in group:
            unit = "" if s.metric == "return" else f" {_dim(f'({s.metric})')}"
            verdicts = compared.get((s.run, s.env, s.algorithm), [])
            cells = (
                escape(label(s.run, s.algorithm, run)) + unit,
                with_dim(number(s.mean), f"± {number(s.standard_error)}"),
                "<br>".join(escape(c.words()) for c in verdicts),
                with_dim(number(s.iqm.value), bounds(s.iqm)),
                number(s.normalised_mean),
                f"{s.steps:,}",
                arm_words(s.learning_rate, s.prediction_cost),
                f"{s.seeds}" + (f", {s.diverged} diverged" if s.diverged else ""),
            )
            rows.append(_row(RESULTS, cells, best=_is_best(s)))
        for chance in random_returns(group):
            rows.append(_row(RESULTS, ("random policy", number(chance), *[""] * 6)))
    return table(RESULTS, rows)


def pairs_table(summaries: list[Summary], comparisons: list[Comparison]) -> str:
    """A row for each two algorithms of an environment; nothing where no two share one."""
    differences = {(c.run, c.env, c.algorithm, c.baseline): _difference(c) for c in comparisons}
    run, rows = only(s.run for s in summaries), []
    for env, group in by_environment(summaries).items():
        if len(group) > 1:
            rows.append(_heading(env, len(PAIRS)))
        for i, s in enumerate(group):
            for other in group[i + 1 :]:
                name = label(other.run, other.algorithm, s.run)
                better = s.improvement.get(name)
                cells = (
                    f"{escape(label(s.run, s.algorithm, run))} vs {escape(name)}",
                    differences.get((s.run, env, s.algorithm, name), ""),
                    "–" if better is None else _probability(better),
                )
                rows.append(_row(PAIRS, cells))
    return table(PAIRS, rows) if rows else ""


def table(headings: Iterable[str], rows: list[str]) -> str:
    """In a box of its own, which scrolls where the page is narrower."""
    head = "".join(f"<th{_class(text=h in NAMES)}>{h}</th>" for h in headings)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        "</div>"
    )


def _heading(env: str, columns: int) -> str:
    return f'<th class="text group" colspan="{columns}">{escape(env)}</th>'


def _row(headings: tuple[str, ...], cells: tuple[str, ...], best: bool = False) -> str:
    return "".join(
        f"<td{_class(text=h in NAMES, best=best and h == MARKED)}>{cell}</td>"
        for h, cell in zip(headings, cells, strict=True)
    )


def _class(**names: bool) -> str:
    own = " ".join(name for name, given in names.items() if given)
    return f' class="{own}"' if own else ""


def _is_best(summary: Summary) -> bool:
    """Better than every other at equal steps, by more than the interval's width of doubt."""
    others = summary.improvement.values()
    return (
        summary.equal_budgets
        and bool(others)
        and all(v.low is not None and v.low > 0.5 for v in others)
    )


def _difference(c: Comparison) -> str:
    if c.difference is None:
        return "–"
    sign = "−" if c.difference < 0 else "+"
    return with_dim(f"{sign}{number(abs(c.difference))}", f"± {number(c.standard_error)}")


def _probability(interval: Interval) -> str:
    if interval.low is None:
        return f"{interval.value:.2f}"
    return with_dim(f"{interval.value:.2f}", f"{interval.low:.2f} … {interval.high:.2f}")


def bounds(interval: Interval) -> str:
    """Of the interval, a dash where there is none."""
    return "–" if interval.low is None else f"{number(interval.low)} … {number(interval.high)}"


def with_dim(text: str, beside: str) -> str:
    """A figure and its doubt."""
    return f"{text} {_dim(beside)}"


def _dim(text: str) -> str:
    return f'<span class="dim">{text}</span>'
