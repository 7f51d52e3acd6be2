"""Figures of any run: one look, colours that the colour-blind tell apart, PNG and PDF of each.

Names are text in them: no formula between dollars, none hidden for its underscore, none cut.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import Any

from cycler import cycler
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from lpg.files.storage import write_atomically

Look = dict[str, Any]  # color and linestyle, as matplotlib's plot takes them
# Okabe and Ito (2008), but for yellow, which is lost on white, and black, which means have.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LOOKS = cycler(linestyle=["-", "--", "-.", ":"]) * cycler(color=COLOURS)
STYLE: dict[Any, Any] = {
    "axes.formatter.useoffset": False,  # it would stand in the heading's place
    "axes.prop_cycle": LOOKS,
    "axes.titlesize": 10,
    "figure.titlesize": 11,
    "legend.fontsize": 9,
    "pdf.fonttype": 42,  # text that stays text
    "savefig.dpi": 200,
    "text.parse_math": False,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}
LETTER = 0.1  # inches, of a legend; few are wider
HANDLE = 0.6  # inches before a legend's name
MARGIN = 0.1  # inches


@contextmanager
def panels(
    path: Path, count: int, columns: int, size: tuple[float, float]
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of `count` panels, row by row, in the project's style whatever the user's is; `path`
    and the same as PDF when the block ends, nothing where it raises.

    Args:
        size: inches of a panel, its labels beside it included, headings and legends not.

    Raises OSError where the disk refuses; older files then stay as they were.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
        axes = [figure.add_subplot(rows, columns, i + 1) for i in range(count)]
        yield figure, axes
        _make_room(figure, [axes[i : i + columns] for i in range(0, count, columns)], size[1])
        save(figure, path)


def _make_room(figure: Figure, rows: list[list[Axes]], height: float) -> None:
    """Panels keep their height, whatever stands above and below them; a panel's legend stands below
    what is written along its axis."""
    for axis in (axis for row in rows for axis in row):
        if (own := axis.get_legend()) is not None:
            written = axis.get_window_extent().y0 - axis.xaxis.get_tightbbox().y0  # type: ignore
            below = ScaledTranslation(0.0, -written / figure.dpi, figure.dpi_scale_trans)
            own.set_bbox_to_anchor((0.5, 0.0), axis.transAxes + below)
    beside = [
        max(axis.get_tightbbox().height - axis.get_window_extent().height for axis in row)  # type: ignore
        for row in rows
    ]
    level = [text for text in figure.texts if text.get_rotation() == 0]
    around = [x.get_window_extent().height for x in (*level, *figure.legends)]
    figure.set_figheight(height * len(rows) + sum(beside + around) / figure.dpi)
    figure.get_layout_engine().execute(figure)  # type: ignore
    figure.set_layout_engine("none")  # once is enough: it takes longer than drawing


def save(figure: Figure, path: Path) -> None:
    """With whatever stands out; the same figure gives the same bytes. Raises OSError as `panels`
    does."""
    whole = figure.get_tightbbox().padded(MARGIN)
    for kind, metadata in (("png", None), ("pdf", {"CreationDate": None})):
        drawn = BytesIO()
        figure.savefig(drawn, format=kind, metadata=metadata, bbox_inches=whole)
        write_atomically(path.with_suffix(f".{kind}"), drawn.getvalue())


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A line style and colour for each name, the same in every panel; 24 differ."""
    return dict(zip(dict.fromkeys(names), cycle(LOOKS), strict=False))


def title(of: Axes | Figure, text: str) -> None:
    """Above a panel or a figure, in as many lines as its width asks for."""
    put = of.suptitle if isinstance(of, Figure) else of.set_title
    put(fill(text, int(1.2 * _width(of) / LETTER)))  # there is room beside a panel


def legend(of: Axes | Figure, entries: dict[str, Artist]) -> None:
    """Names below a panel or a figure, off its curves, in as many columns as fit."""
    if not entries:
        return
    width = _width(of)
    names = [fill(name, int((width - HANDLE) / LETTER)) for name in entries]
    longest = max(len(line) for name in names for line in name.split("\n"))
    columns = max(1, int(width / (longest * LETTER + HANDLE)))
    place = "outside lower center" if isinstance(of, Figure) else "upper center"
    of.legend(list(entries.values()), names, ncols=min(columns, len(names)), loc=place)


def samples(looks: dict[str, Look]) -> dict[str, Artist]:
    """A line of each look, for a legend."""
    return {name: Line2D([], [], **look) for name, look in looks.items()}


def _width(of: Axes | Figure) -> float:
    """In inches, before panels are laid out."""
    if isinstance(of, Figure):
        return of.get_figwidth()
    return of.get_position().width * of.get_figure(root=True).get_figwidth()  # type: ignore
