"""Tables on the console, whole on a terminal of any width, in a pipe and in a log."""

import os

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table


def print_table(table: Table) -> None:
    """On stdout. No terminal has its width: there the table takes what it needs, unless COLUMNS
    says otherwise. Where words would be cut, its cells stand below each other."""
    console = Console()
    needed = Measurement.get(console, console.options.update_width(10_000), table)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=max(console.width, needed.maximum))
    console.print(table if needed.minimum <= console.width else as_lines(table))


def as_lines(table: Table) -> Table:
    """A line for each cell that is not empty, beside its heading."""
    lines = Table(title=table.title, show_header=False, box=None, pad_edge=False)
    lines.add_column(no_wrap=True)
    lines.add_column(overflow="fold")
    headings = [column.header for column in table.columns]
    for row in zip(*(column.cells for column in table.columns), strict=True):
        for heading, cell in zip(headings, row, strict=True):
            if str(cell):
                lines.add_row(heading, cell)
        lines.add_row()
    return lines
