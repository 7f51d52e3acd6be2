"""report.html, summary.json and the command that puts runs side by side."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from test_statistics import result

from metatest.report import cli as report_cli
from metatest.report import write
from metatest.report.console import print_report
from metatest.report.write import write_report

SCRIPT = Path(__file__).parents[2] / "scripts" / "recompute_report.py"
LIFE = {"updates": [2344], "interactions": [3_000_320], "learning_rate": 5e-4}
VOID = {"meta", "img", "br"}


class Checker(HTMLParser):
    """Tags close in order; collects what is linked and the text."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.words = [], [], []

    def handle_starttag(self, tag, attrs):
        self.links += [v for k, v in attrs if k in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def make_run(path, results):
    path.mkdir()
    lines = "".join(json.dumps(asdict(r)) + "\n" for r in results)
    (path / "results.jsonl").write_text(lines)
    (path / "command.json").write_text(json.dumps({"command": "metatest --rule <x>", "rule": {}}))
    return path


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Curves are drawn in test_curves.py."""
    monkeypatch.setattr(write, "draw_curves", lambda runs, path: path.write_bytes(b"a picture"))


@pytest.fixture
def run(tmp_path):
    results = [
        result("<script>env", "lpg", [3.0, 4.0, 5.0, 9.0], random=0.0, reference=10.0),
        result("<script>env", "a2c", [1.0, 2.0, 2.5, 2.0], random=0.0, reference=10.0),
        result("other", "lpg", [1.0, 2.0], random=0.0, reference=4.0),
    ]
    return make_run(tmp_path / "run", results)


def test_page_is_well_formed_self_contained_and_escaped(run):
    write_report(run, [run])
    checker, text = Checker(), (run / "report.html").read_text()
    checker.feed(text)
    assert checker.open == []
    assert checker.links and all(link.startswith("data:image/") for link in checker.links)
    assert "<script" not in text and "<script>env" in checker.words
    assert "metatest --rule <x>" in checker.words
    assert 'class="best">5.250' in text  # lpg's mean: every seed above every one of a2c
    # Sum of squared deviations over 3 x 4: 20.75 / 12 + 1.1875 / 12 = 1.352 squared.
    assert "better than a2c" in checker.words and "lpg vs a2c" in checker.words
    assert {"+3.375 ", "± 1.352"} <= set(checker.words)
    assert "lpg against a2c: better on 1, equal on 0, worse on 0" in checker.words


def test_no_mean_is_marked_where_budgets_differ(run):
    rows = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    rows[1] |= {"updates": [10], "interactions": [100]}  # an update is 10 steps for either
    (run / "results.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    write_report(run, [run])
    text = (run / "report.html").read_text()
    assert 'class="best">5.250' not in text and "unequal steps (a2c)" in text
    assert "<td>100</td>" in text


@pytest.mark.parametrize("columns", ["80", None])
def test_console_table_is_whole_in_eighty_columns_and_in_a_pipe(
    tmp_path, capsys, monkeypatch, columns
):
    """With names and figures as long as they come, which stand in one line."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    name = "longer_horizon"
    results = [
        replace(result(name, "lpg-tabular", [-1234.5, -1230.0], random=-1200.0), **LIFE),
        replace(result(name, "a2c", [-1234.5, -1230.0], random=-1200.0), **LIFE),
    ]
    run = make_run(tmp_path / "run", results)
    print_report(write_report(run, [run]), run)
    *shown, where = capsys.readouterr().out.splitlines()
    assert where == f"Report: {run / 'report.html'}"
    assert max(map(len, shown)) <= int(columns or 200)
    ours, theirs, chance = (line.split() for line in shown[-3:])
    figures = ["-1232.2", "±2.2", "0.0005,", "0.5", "3,000,320", "2"]
    assert ours == ["lpg-tabular", *figures[:2], "equal", "to", "a2c", *figures[2:]]
    assert theirs == ["a2c", *figures] and chance == ["random", "policy", "-1200.0"]


def test_a_line_without_errors_of_the_arms_can_be_read(run):
    """As written before arms had them."""
    rows = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    for row in rows:
        del row["selection_metric"]
    (run / "results.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    write_report(run, [run])
    assert "late score (unit not recorded) on selection seeds" in (run / "report.html").read_text()


def test_independent_script_agrees_and_notices_a_change(run):
    write_report(run, [run])
    command = [sys.executable, str(SCRIPT), str(run)]
    assert subprocess.run(command, capture_output=True).returncode == 0
    numbers = json.loads((run / "summary.json").read_text())
    numbers["rows"][1]["iqm"]["value"] += 1e-3
    (run / "summary.json").write_text(json.dumps(numbers))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "iqm" in done.stdout


def test_two_runs_side_by_side(run, tmp_path, capsys):
    other = make_run(tmp_path / "second", [result("other", "lpg", [7.0, 8.0])])
    out = tmp_path / "both"
    assert report_cli.main([str(run), str(other), "--output", str(out)]) == 0
    text = (out / "report.html").read_text()
    assert "second: lpg" in text and "run: lpg" in text
    assert "Report:" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, "not json\n", '{"env": "a"}\n', ""])
def test_a_run_that_cannot_be_read_is_refused_in_one_sentence(tmp_path, capsys, content):
    (tmp_path / "run").mkdir()
    if content is not None:
        (tmp_path / "run" / "results.jsonl").write_text(content)
    out = tmp_path / "out"
    assert report_cli.main([str(tmp_path / "run"), "--output", str(out)]) == 2
    error = capsys.readouterr().err.strip()
    assert "run" in error and "\n" not in error
    assert not out.exists()


def test_normalised_needs_both_references():
    known = result("a", "x", [2.0, None], random=1.0, reference=3.0)
    assert known.normalised() == [0.5, None]
    assert replace(known, reference_return=None).normalised() == [None, None]
