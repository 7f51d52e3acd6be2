"""Tables on the console: nothing is cut, in a pipe, at eighty columns or at twenty."""

import pytest
from rich.table import Table
from rich.text import Text

from lpg.runs.tables import print_table

LONG = "[red]a[/red]_" + "b" * 60


@pytest.fixture
def shown(monkeypatch, capsys):
    """Lines that are printed where COLUMNS says how wide it is, or nobody does."""

    def lines(rows, columns=None):
        monkeypatch.delenv("COLUMNS", raising=False)
        if columns:
            monkeypatch.setenv("COLUMNS", str(columns))
        table = Table("name", "what it is", box=None, pad_edge=False)
        for row in rows:
            table.add_row(*map(Text, row))
        print_table(table)
        return [line.rstrip() for line in capsys.readouterr().out.splitlines()]

    return lines


def test_in_a_pipe_a_row_is_a_line_however_long(shown):
    sentence = " ".join(["word"] * 40)
    _, row = shown([(LONG, sentence)])
    assert row.split() == [LONG, *["word"] * 40]


def test_on_a_terminal_words_go_to_the_next_line(shown):
    lines = shown([("a", " ".join(["word"] * 40))], 80)
    assert max(map(len, lines)) <= 80 and len(lines) > 2
    assert " ".join(lines).split().count("word") == 40


def test_cells_stand_below_each_other_where_words_would_be_cut(shown):
    lines = shown([(LONG, "x" * 30), ("b", "")], 80)
    assert lines[0].startswith("name ") and lines[-2] == "name        b"
    whole = "".join(line.replace("what it is", "").replace("name", "").strip() for line in lines)
    assert whole == LONG + "x" * 30 + "b"
    assert "…" not in whole and max(map(len, lines)) <= 80
