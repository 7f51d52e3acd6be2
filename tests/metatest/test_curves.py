"""curves.png, line by line."""

from dataclasses import replace

import numpy as np
import pytest
from test_statistics import result

from lpg.runs import figures
from metatest.report.curves import draw_curves


@pytest.fixture(scope="module")
def panels(tmp_path_factory):
    """The figure of four environments and two runs, and the file's name; never rendered."""
    life = {"updates": [1, 2, 3], "interactions": [10, 20, 30]}
    first = replace(
        result("a", "lpg", [1.0, 3.0], random=-1.0, reference=5.0),
        episode_return=[[None, None], [1.0, None], [1.0, 3.0]], **life,
    )  # fmt: skip
    endless = replace(
        result("b", "lpg", [7.0, None], random=-1.0, reference=5.0),
        reward_per_step=[[0.0, 0.0], [0.5, 1.5], [1.0, 1.0]], **life,
    )  # fmt: skip
    one = [first, endless, result("c", "$x_1$", [1.0]), result("c", "lpg", [1.0])]
    with pytest.MonkeyPatch.context() as patch:
        saved = []
        patch.setattr(figures, "save", lambda figure, path: saved.append((figure, path)))
        path = tmp_path_factory.mktemp("curves") / "curves.png"
        draw_curves({"one": one, "_two": [result("$d$", "x", [1.0])]}, path)
    ((figure, path),) = saved
    return figure, path.name


def test_a_panel_an_environment_and_no_empty_one(panels):
    figure, name = panels
    assert [axis.get_title() for axis in figure.axes] == ["a", "b", "c", "$d$"]
    assert name == "curves.png"


def test_one_legend_names_whatever_is_drawn(panels):
    figure, _ = panels
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "one: lpg", "one: $x_1$", "_two: x", "random policy", "reference",
    ]  # fmt: skip
    shown = [(line.get_color(), line.get_linestyle()) for line in legend.get_lines()]
    lines = [axis.lines[0] for axis in (figure.axes[0], figure.axes[2], figure.axes[3])]
    assert shown[:3] == [(line.get_color(), line.get_linestyle()) for line in lines]
    again = figure.axes[2].lines[1]  # lpg, which is not the first one there
    assert (again.get_color(), again.get_linestyle()) == shown[0]


def test_curves_are_means_of_the_seeds_that_finished_within_their_standard_errors(panels):
    """Of [1, 3] the mean is 2, its standard error sqrt(2) / sqrt(2) = 1."""
    axis = panels[0].axes[0]
    line, random, reference = axis.lines
    np.testing.assert_allclose(line.get_xydata(), [[20, 1.0], [30, 2.0]])
    band = axis.collections[0].get_paths()[0].vertices
    assert [np.ptp(band[band[:, 0] == x][:, 1]) for x in (20, 30)] == [0.0, 2.0]
    assert (random.get_ydata()[0], reference.get_ydata()[0]) == (-1.0, 5.0)
    assert axis.get_ylabel() == "return"


def test_an_environment_with_an_unfinished_seed_shows_rewards_and_no_reference(panels):
    axis = panels[0].axes[1]
    (line,) = axis.lines
    np.testing.assert_allclose(line.get_xydata(), [[10, 0.0], [20, 1.0], [30, 1.0]])
    assert axis.get_ylabel() == "reward per step"
