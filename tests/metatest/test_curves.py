"""curves.png, line by line, and the console's table."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from rich.console import Console
from test_statistics import result

from metatest.report.comparison import compare
from metatest.report.statistics import summarise
from metatest.report.write import Report, as_table, cell, draw_curves


@pytest.fixture(scope="module")
def panels(tmp_path_factory):
    """Axes of four environments and two runs, and the file's name; drawn once, never rendered."""
    life = {"updates": [1, 2, 3], "interactions": [10, 20, 30]}
    first = replace(
        result("a", "lpg", [1.0, 3.0], random=-1.0, reference=5.0),
        episode_return=[[None, None], [1.0, None], [1.0, 3.0]], **life,
    )  # fmt: skip
    endless = replace(
        result("b", "lpg", [7.0, None], random=-1.0, reference=5.0),
        reward_per_step=[[0.0, 0.0], [0.5, 1.5], [1.0, 1.0]], **life,
    )  # fmt: skip
    runs = {"one": [first, endless, result("c", "lpg", [1.0])], "two": [result("d", "x", [1.0])]}
    with pytest.MonkeyPatch.context() as patch:
        saved = []
        patch.setattr(Figure, "savefig", lambda figure, path, **how: saved.append((figure, path)))
        draw_curves(runs, tmp_path_factory.mktemp("curves") / "curves.png")
    ((figure, path),) = saved
    assert not plt.fignum_exists(figure.number)
    return figure.axes, path.name


def test_a_panel_an_environment_and_no_empty_one(panels):
    axes, name = panels
    assert [axis.get_title() for axis in axes] == ["a", "b", "c", "d", "", ""]
    assert [axis.axison for axis in axes] == [True] * 4 + [False] * 2 and name == "curves.png"
    assert axes[3].get_legend().get_texts()[0].get_text() == "two: x"


def test_curves_are_means_of_the_seeds_that_finished_within_their_standard_errors(panels):
    """Of [1, 3] the mean is 2, its standard error sqrt(2) / sqrt(2) = 1."""
    axis = panels[0][0]
    line, random, reference = axis.lines
    np.testing.assert_allclose(line.get_xydata(), [[20, 1.0], [30, 2.0]])
    band = axis.collections[0].get_paths()[0].vertices
    assert [np.ptp(band[band[:, 0] == x][:, 1]) for x in (20, 30)] == [0.0, 2.0]
    assert (random.get_ydata()[0], reference.get_ydata()[0]) == (-1.0, 5.0)
    assert axis.get_ylabel() == "return"


def test_an_environment_with_an_unfinished_seed_shows_rewards_and_no_reference(panels):
    axis = panels[0][1]
    (line,) = axis.lines
    np.testing.assert_allclose(line.get_xydata(), [[10, 0.0], [20, 1.0], [30, 1.0]])
    assert axis.get_ylabel() == "reward/step"


def test_the_console_names_runs_metrics_and_diverged_seeds_where_there_are_any(capsys):
    endless = replace(result("a", "lpg", [1.0, None], reward=[0.25, 0.75]), diverged=2)
    runs = {"one": [endless], "two": [result("b", "a2c", [4.0, 6.0])]}
    Console(width=120).print(as_table(Report(summarise(runs), compare(runs))))
    header, _, first, second = capsys.readouterr().out.strip().splitlines()[1:]
    assert header.split()[:3] == ["run", "environment", "algorithm"]
    assert first.split()[:3] == ["one", "a", "(reward/step)"] and "2 (2 diverged)" in first
    assert "0.500 ±0.250" in first and "5.000 ±1.000" in second and "diverged" not in second
    alone = {"one": runs["one"]}
    Console(width=120).print(as_table(Report(summarise(alone), compare(alone))))
    assert capsys.readouterr().out.splitlines()[1].split()[0] == "environment"


def test_a_cell_is_a_dash_where_there_is_no_figure():
    assert [cell(x) for x in (None, float("nan"), float("inf"))] == ["-"] * 3
    assert cell(12.345, 0.04) == "12.3 ±0.0" and cell(0.05, 0.2) == "0.0500 ±0.2000"


def test_a_name_that_carries_options_is_shown_whole():
    """Brackets are rich's markup where nobody says otherwise."""
    runs = {"one": [result("a", "stac[gamma,lam]", [1.0, 1.1]), result("a", "stac[]", [0.0, 0.1])]}
    table = as_table(Report(summarise(runs), compare(runs)))
    console = Console(width=140)
    with console.capture() as shown:
        console.print(table)
    assert "stac[gamma,lam]" in shown.get() and "better than stac[]" in shown.get()
