"""report.html, cell by cell: tables, arms, pictures and what is left out of the page."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from test_report import make_run
from test_statistics import result

from metatest.report import html, number, write
from metatest.report.failures import Failure, add_failure
from metatest.report.write import write_report

PNG = b"\x89PNG, as far as anyone looks"


class Reader(HTMLParser):
    """Tables as rows of cells' text, cells marked best, and sources of pictures, decoded."""

    def __init__(self):
        super().__init__()
        self.tables, self.best, self.pictures, self._cell = [], [], [], None

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._cell, self._marked = [], attrs.get("class") == "best"
        elif tag == "img":
            kind, data = attrs["src"].split(";base64,")
            self.pictures.append((kind, base64.b64decode(data)))

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            text, self._cell = "".join(self._cell), None
            self.tables[-1][-1].append(text)
            self.best += [text] if self._marked else []

    def handle_data(self, data):
        if self._cell is not None:
            self._cell.append(data)


def page_of(monkeypatch, folder, **runs):
    """The text of a report on these runs, and what a reader finds in it; no curve is drawn."""
    monkeypatch.setattr(write, "draw_curves", lambda runs, path: path.write_bytes(PNG))
    paths = [folder / name for name in runs]
    for path, results in zip(paths, runs.values(), strict=True):
        if not path.exists():
            make_run(path, results)
    write_report(folder / "report", paths)
    text, reader = (folder / "report" / "report.html").read_text(), Reader()
    reader.feed(text)
    return text, reader


def test_rows_say_what_was_measured_below_their_environment(monkeypatch, tmp_path):
    """Of [2, 4] the standard error is 1; (3 - -1) / (7 - -1) = 0.5."""
    ours = replace(result("a", "lpg", [2.0, 4.0], random=-1.0, reference=7.0), diverged=1)
    theirs = result("a", "a2c", [20.0, 40.0], random=-1.0)
    _, found = page_of(monkeypatch, tmp_path, run=[ours, theirs, result("b", "lpg", [0.05])])
    header, a, first, second, chance, b, third = found.tables[0]
    assert header[:2] == ["environment, algorithm", "return ± s.e."] and a == ["a"] and b == ["b"]
    assert first[:3] == ["lpg", "3.000 ± 1.000", "worse than a2c"]
    cells = dict(zip(header, first, strict=True))
    assert (cells["normalised"], cells["seeds"]) == ("0.500", "2, 1 diverged")
    assert (cells["steps"], cells["lr, αy"]) == ("10", "0.1, 0.5")
    assert second[:3] == ["a2c", "30.0 ± 10.0", ""] and third[:2] == ["lpg", "0.0500 ± –"]
    assert chance[:2] == ["random policy", "-1.000"] and not any(chance[2:])


def test_algorithms_are_compared_two_by_two(monkeypatch, tmp_path):
    """3 is above 1 and 2, 1 above neither: ahead in 2 of 4 pairs. 2 - 1.5, sqrt(1 + 0.25)."""
    seeds = {"lpg": [1.0, 3.0], "a2c": [1.0, 2.0], "stac": [9.0, 9.5]}
    runs = [result("a", name, late) for name, late in seeds.items()]
    _, found = page_of(monkeypatch, tmp_path, run=[*runs, result("b", "lpg", [0.05])])
    header, env, first, second, third = found.tables[1]
    assert header[0] == "environment, algorithms" and env == ["a"]
    assert [row[0] for row in (first, second, third)] == [
        "lpg vs a2c", "lpg vs stac", "a2c vs stac",
    ]  # fmt: skip
    assert first[1] == "+0.500 ± 1.118" and first[2].startswith("0.62 ")  # one of them tied
    assert third[1:] == ["", "0.00 0.00 … 0.00"]


def test_a_random_policys_return_is_shown_where_agents_have_none(monkeypatch, tmp_path):
    endless = result("a", "lpg", [1.0, None], random=-2.5, reward=[0.25, 0.75])
    _, found = page_of(monkeypatch, tmp_path, run=[endless])
    assert [row[:2] for row in found.tables[0][2:]] == [
        ["lpg (reward per step)", "0.500 ± 0.250"], ["random policy", "-2.500"],
    ]  # fmt: skip


def test_names_are_text(monkeypatch, tmp_path):
    """Of environments, algorithms, runs and what failed; tags would swallow them."""
    name = "<b>x</b>&amp;\"'"
    runs = {"<i>run": [result(name, name, [1.0]), result(name, "a2c", [1.0])], "other": []}
    runs["other"] = [result(name, name, [2.0])]
    add_failure(make_run(tmp_path / "<i>run", runs["<i>run"]), Failure(name, name, name))
    text, found = page_of(monkeypatch, tmp_path, **runs)
    table, pairs = found.tables[:2]
    assert table[1] == [name] and table[2][0] == f"<i>run: {name}"
    assert f"other: {name}" in table[2][2]
    assert pairs[2][0] == f"<i>run: {name} vs a2c"
    assert not {"<b>", "<i>"} & set(re.findall("<[a-z]>", text))


def test_several_runs_are_told_apart_and_one_needs_no_name(monkeypatch, tmp_path):
    runs = {"one": [result("a", "lpg", [1.0])], "two": [result("a", "lpg", [2.0])]}
    _, alone = page_of(monkeypatch, tmp_path, one=runs["one"])
    assert [row[0] for row in alone.tables[0][1:]] == ["a", "lpg"]
    _, found = page_of(monkeypatch, tmp_path, **runs)
    assert [row[0] for row in found.tables[0][1:]] == ["a", "one: lpg", "two: lpg"]


def test_tables_scroll_in_boxes_of_their_own(monkeypatch, tmp_path):
    text, found = page_of(monkeypatch, tmp_path, run=[result("a", x, [1.0]) for x in "xy"])
    assert text.count('<div class="scroll"><table>') == len(found.tables) > 2
    assert re.search(r"\.scroll \{[^}]*overflow-x: auto", text)
    assert "max-height" not in text and "ellipsis" not in text


def test_runs_of_equal_folder_names_are_told_apart_by_their_paths(monkeypatch, tmp_path):
    monkeypatch.setattr(write, "draw_curves", lambda runs, path: path.write_bytes(PNG))
    paths = []
    for parent in ("x", "y"):
        (tmp_path / parent).mkdir()
        paths.append(make_run(tmp_path / parent / "run", [result("a", "lpg", [1.0])]))
    report = write_report(tmp_path / "out", paths)
    assert [s.run for s in report.summaries] == [str(path) for path in paths]


def test_pictures_are_in_the_page_byte_by_byte_but_for_videos_too_large(monkeypatch, tmp_path):
    monkeypatch.setattr(html, "MAX_VIDEO_BYTES", 10)
    run = make_run(tmp_path / "run", [result("pong", "lpg", [1.0])])
    (run / "videos").mkdir()
    (run / "videos" / "pong-lpg.gif").write_bytes(b"GIF of ten")
    (run / "videos" / "pong-large.gif").write_bytes(b"GIF of more")
    text, found = page_of(monkeypatch, tmp_path, run=None)
    assert found.pictures == [("data:image/png", PNG), ("data:image/gif", b"GIF of ten")]
    assert "pong-lpg" in text and "pong-large" not in text
    (run / "videos" / "pong-lpg.gif").unlink()
    assert "Final agents" not in page_of(monkeypatch, tmp_path, run=None)[0]


def test_arms_show_the_one_chosen_and_those_that_diverged(monkeypatch, tmp_path):
    arms = [[0.1, 0.5, 1.25, 0.5], [0.2, 0.5, None, None], [0.2, 1.0, 0.75]]
    chosen = replace(result("a", "lpg", [1.0]), selection=arms, selection_metric="return")
    _, found = page_of(monkeypatch, tmp_path, run=[chosen])
    header, *rows = found.tables[-1]
    assert header == ["lr", "αy", "late return on selection seeds", "s.e."]
    assert rows == [
        ["0.1", "0.5", "1.250", "0.500"],
        ["0.2", "0.5", "diverged", "–"],
        ["0.2", "1", "0.750", "–"],
    ]
    assert found.best == ["1.250"]
    shorter = replace(chosen, selection_steps=3_000)
    _, found = page_of(monkeypatch, tmp_path, shorter=[shorter])
    assert found.tables[-1][0][2] == "late return on selection seeds, 3,000 steps"
    text, _ = page_of(monkeypatch, tmp_path, centred=[replace(chosen, reward_centre=-1.0)])
    assert "rewards × 1 from -1" in text


def test_a_single_arm_is_not_said_to_have_diverged(monkeypatch, tmp_path):
    alone = replace(result("a", "lpg", [1.0]), selection=[[0.1, 0.5, None, None]])
    _, found = page_of(monkeypatch, tmp_path, run=[alone])
    header, row = found.tables[-1]
    assert header[2] == "late return on selection seeds" and row[2] == "not tried"


def test_sections_without_content_are_left_out(monkeypatch, tmp_path):
    bounds = {"random": 0.0, "reference": 4.0}
    known = [result(env, "lpg", [1.0, 3.0], **bounds) for env in ("a", "b")]
    text, found = page_of(monkeypatch, tmp_path, run=known)
    assert "2 environments," in text and "How to repeat it: run" in text
    assert found.tables[1][1][:2] == ["lpg", "0.500"]  # (.25 + .75) / 2 in both
    bare = make_run(tmp_path / "bare", [known[0]])
    (bare / "command.json").unlink()
    text, _ = page_of(monkeypatch, tmp_path, bare=None)
    assert "1 environment," in text
    assert "How to repeat it" not in text and "Over all environments" not in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"), (float("nan"), "–"), (0.0, "0.0000"), (-0.0512, "-0.0512"), (0.1, "0.100"),
        (-9.9994, "-9.999"), (10.0, "10.0"), (-1234.56, "-1234.6"),
    ],
)  # fmt: skip
def test_numbers_have_as_many_decimals_as_their_size_calls_for(value, shown):
    assert number.number(value) == shown
