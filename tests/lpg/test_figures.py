"""Figures of runs: what is left on disk, names as they are, colours that anybody tells apart."""

from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from lpg.runs import figures

NASTY = ("_hidden", "$x_1$", r"$\nothing{$", "[red]x[/red]", "<b>", "a.module:" + "Name" * 40)
# From linear RGB to what somebody sees who lacks a pigment (Machado et al. 2009, severity 1).
BLINDNESS = {
    "none": np.eye(3),
    "red": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "green": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
}


def draw(path, names=NASTY):
    """Two panels, one with a legend of its own, beside one of the figure."""
    with figures.panels(path, 2, 2, (4.0, 2.0)) as (figure, axes):
        for axis in axes:
            axis.set_xticks([0, 1], ["a tall\nlabel", "1"], rotation=90)
            axis.set_xlabel("what it is")
            lines = {n: axis.plot([0, 1], **look)[0] for n, look in figures.looks(names).items()}
            figures.title(axis, " ".join(names))
        figures.legend(axes[0], lines)
        figures.legend(figure, lines)
        figures.title(figure, " ".join(names))
    return figure, axes


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The figure, its panels and its file, drawn under settings of a user's own."""
    path = tmp_path_factory.mktemp("figures") / "x.png"
    with matplotlib.rc_context({"savefig.dpi": 50, "figure.dpi": 50, "legend.frameon": False}):
        figure, axes = draw(path)
    figure.draw_without_rendering()  # after the PDF's, whose inches have other pixels
    return figure, axes, path


def test_pictures_are_fine_and_left_as_pdf_too(drawn):
    figure, _, path = drawn
    with Image.open(path) as picture:
        assert round(picture.info["dpi"][0]) >= 200
        assert picture.width >= 200 * figure.get_figwidth()
    assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    assert sorted(x.name for x in path.parent.iterdir()) == ["x.pdf", "x.png"]


def test_one_figure_has_the_same_bytes_whenever_it_is_drawn(tmp_path):
    for name in ("a", "b"):
        with figures.panels(tmp_path / f"{name}.png", 1, 1, (1.0, 1.0)):
            pass
    for kind in ("png", "pdf"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_nothing_is_left_half_drawn(tmp_path):
    with pytest.raises(KeyError), figures.panels(tmp_path / "x.png", 1, 1, (2.0, 2.0)):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_every_name_is_in_the_legends_and_headings_as_it_is(drawn):
    figure, axes, _ = drawn
    for legend in (axes[0].get_legend(), *figure.legends):
        assert [x.get_text().replace("\n", "") for x in legend.get_texts()] == list(NASTY)
    for heading in (axes[0].get_title(), figure.get_suptitle()):
        assert heading.replace("\n", "").replace(" ", "") == "".join(NASTY)


def test_headings_and_legends_are_within_their_room_and_off_the_curves(drawn):
    figure, axes, _ = drawn
    (below,) = figure.legends
    whole, panel = figure.bbox, axes[0].get_window_extent()
    own = axes[0].get_legend().get_window_extent()
    assert own.y1 < axes[0].xaxis.label.get_window_extent().y0 < panel.y0
    assert below.get_window_extent().y1 < own.y0
    for box in (own, below.get_window_extent(), axes[0].title.get_window_extent()):
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1
    assert axes[0].title.get_window_extent().x1 < axes[1].title.get_window_extent().x0
    assert panel.height >= 0.8 * 2 * figure.dpi  # inches that were asked for


def test_twenty_four_names_look_different_and_each_everywhere_the_same():
    names = [str(i) for i in range(24)]
    found = figures.looks(names)
    assert len({tuple(sorted(look.items())) for look in found.values()}) == 24
    assert figures.looks([*names, *names]) == found
    assert len(figures.looks(map(str, range(30)))) == 30


def lab(rgb):
    """CIE L*a*b* of linear sRGB under D65."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(np.maximum(xyz @ rgb, 0.009) / [0.9505, 1.0, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("who", BLINDNESS)
def test_colours_are_told_apart_by_the_colour_blind(who):
    """2.3 is just noticeable; matplotlib's own first six come as near as 7 (red and green)."""
    linear = [np.power(to_rgb(colour), 2.2) for colour in figures.COLOURS]
    seen = [lab(np.clip(BLINDNESS[who] @ rgb, 0, 1)) for rgb in linear]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 15
