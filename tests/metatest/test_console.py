"""The console's table of results, row by row."""

from dataclasses import replace

import pytest
from rich.console import Console
from test_statistics import result

from metatest.report.comparison import compare
from metatest.report.console import as_table, cell
from metatest.report.statistics import summarise
from metatest.report.write import Report


def rows(runs):
    """Words of each row of the console, headings left out."""
    console = Console(width=140)
    with console.capture() as shown:
        console.print(as_table(Report(summarise(runs), compare(runs))))
    return [line.split() for line in shown.get().strip().splitlines()[3:]]


def test_the_console_names_runs_metrics_and_diverged_seeds_where_there_are_any():
    endless = replace(result("a", "lpg", [1.0, None], reward=[0.25, 0.75]), diverged=2)
    runs = {"one": [endless], "two": [result("b", "a2c", [4.0, 6.0])]}
    a, first, b, second = rows(runs)
    assert a == ["a"] and b == ["b"]
    assert first[:6] == ["one:", "lpg", "(reward", "per", "step)", "0.500"]
    assert first[-3:] == ["2", "(2", "diverged)"]
    assert second[:4] == ["two:", "a2c", "5.000", "±1.000"] and second[-1] == "2"
    assert rows({"one": runs["one"]})[1][:2] == ["lpg", "(reward"]


def test_environments_hold_the_algorithms_of_all_runs_and_what_chance_earns():
    """In either metric; runs of several seeds have measured it several times."""
    endless = result("a", "lpg", [1.0, None], random=-2.5, reward=[0.25, 0.75])
    runs = {
        "one": [endless, result("b", "lpg", [1.0])],
        "two": [result("a", "lpg", [3.0], random=-2.5), result("b", "x", [1.0], random=0.125)],
    }
    assert [row[:3] for row in rows(runs)] == [
        ["a"], ["one:", "lpg", "(reward"], ["two:", "lpg", "3.000"], ["random", "policy", "-2.500"],
        ["b"], ["one:", "lpg", "1.000"], ["two:", "x", "1.000"], ["random", "policy", "0.125"],
    ]  # fmt: skip


def test_a_cell_is_a_dash_where_there_is_no_figure():
    assert [cell(x) for x in (None, float("nan"), float("inf"))] == ["-"] * 3
    assert cell(12.345, 0.04) == "12.3 ±0.0" and cell(0.05, 0.2) == "0.0500 ±0.2000"


@pytest.mark.parametrize("name", ["stac[gamma,lam]", "[red]x[/red]", ":smile:", "stac[]"])
def test_names_are_text(name):
    """Brackets are rich's markup, colons its pictures, where nobody says otherwise."""
    runs = {name: [result(name, "lpg", [1.0, 1.1]), result(name, name, [0.0, 0.1])], "b": []}
    runs["b"] = [result(name, "lpg", [1.0, 1.1])]
    env, first, more, second, _ = rows(runs)
    assert env == [name] and first[0] == second[0] == f"{name}:" and second[1] == name
    assert first[4:7] == ["better", "than", name] and more == ["equal", "to", "b:", "lpg"]
