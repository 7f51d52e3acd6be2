"""docs/results.md from a small run, cell by cell."""

import json
from dataclasses import asdict, replace

import pytest
import results_table as script
from test_statistics import result

PROBE = {
    "long_chains_intact": 0.75, "long_chains_y_cut": 0.0625, "short_chains_intact": 1.0,
    "collapsed_lives": 0.015625, "drift": 0.0125, "reward_free_entropy_table": 0.5,
    "reward_free_entropy_network": 0.25, "rule": {"name": "lpg-x"},
    "estimates": {"long_chains_intact": {"mean": 0.75, "standard_error": 0.125, "lives": 20}},
}  # fmt: skip


def make_run(path, results, rule="lpg-x", command="metatest --rule lpg-x --envs a"):
    path.mkdir()
    lines = "".join(json.dumps(asdict(r)) + "\n" for r in results)
    (path / "results.jsonl").write_text(lines)
    (path / "command.json").write_text(json.dumps({"command": command, "rule": {"name": rule}}))
    return path


@pytest.fixture
def runs(tmp_path):
    """Standard errors by hand: of [2, 4] it is 1, of [0, 0.2] it is 0.1."""
    long = {"updates": [50], "interactions": [64_000]}
    first = [
        replace(result("dense", "lpg", [2.0, 4.0], random=-1.0, reference=6.0), **long),
        replace(result("dense", "a2c", [0.0, 0.2], random=-1.0, reference=6.0), **long),
        replace(result("endless", "lpg", [1.0, None], reward=[0.5, 0.5]), **long),
        replace(result("endless", "a2c", [1.0, None], reward=[0.0, 0.5]), diverged=1, **long),
    ]
    second = [
        replace(result("sparse", "lpg", [0.0, 0.2]), **long),
        replace(result("sparse", "a2c", [2.0, 4.0]), updates=[100], interactions=[128_000]),
    ]
    return (
        make_run(tmp_path / "one", first, command="metatest --rule lpg-x --envs dense endless"),
        make_run(tmp_path / "two", second, command="metatest --rule lpg-x --envs sparse"),
    )


def cells(text, start):
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_runs_of_a_rule_share_a_table_with_verdicts_and_commands(runs):
    text = script.page(runs, (), ["runs/one", "runs/two"])
    assert cells(text, "`dense`") == [
        "`dense`", "3.000 ±1.000", "0.100 ±0.100", "better",
        "-1.000", "6.000", "64,000", "2", "0.1, 0.5", "0.1, 0.5",
    ]  # fmt: skip
    assert cells(text, "`endless`")[:4] == [
        "`endless` (reward per step)", "0.500 ±0.000",
        "0.250 ±0.250", "equal",
    ]  # fmt: skip
    assert cells(text, "`endless`")[6:8] == ["64,000", "2 / 2 (1 diverged)"]
    assert cells(text, "`sparse`")[3] == "unequal steps (a2c)"
    assert cells(text, "`sparse`")[6] == "64,000 / 128,000"
    assert (
        "Against a2c `lpg-x` is better on 1, equal on 1, worse on 0 of 3, undecided on 1." in text
    )
    assert "metatest --rule lpg-x --envs dense endless\nmetatest --rule lpg-x --envs sparse" in text
    assert "`python scripts/results_table.py runs/one runs/two`" in text
    lines = text.splitlines()
    (header,) = [i for i, line in enumerate(lines) if line.startswith("| environment")]
    assert {line.count("|") for line in lines[header : header + 5]} == {11}


def test_rules_have_tables_of_their_own(runs, tmp_path):
    other = make_run(tmp_path / "three", [result("dense", "lpg", [1.0, 1.0])], rule="lpg-y")
    text = script.page((*runs, other), (), [])
    assert text.index("## `lpg-x`") < text.index("## `lpg-y`")


def test_probes_have_a_row_each(runs, tmp_path):
    path = tmp_path / "probe.json"
    path.write_text(json.dumps(PROBE))
    got = cells(script.page(runs, (path,), []), "`lpg-x`")
    assert got == [
        "`lpg-x`", "0.750 ±0.125", "0.0625", "1.000", "0.0156", "0.0125", "0.500", "0.250"
    ]  # fmt: skip


def test_what_cannot_be_told_apart_or_read_is_refused(runs, tmp_path, monkeypatch, capsys):
    with pytest.raises(ValueError, match="have dense, endless"):
        script.page((runs[0], runs[0]), (), [])
    (tmp_path / "probe.json").write_text('{"drift": 1.0}')
    with pytest.raises(ValueError, match="long_chains_intact"):
        script.page(runs, (tmp_path / "probe.json",), [])
    (runs[1] / "command.json").unlink()
    monkeypatch.setattr("sys.argv", ["x", str(runs[1]), "--output", str(tmp_path / "results.md")])
    assert script.main() == 2
    error = capsys.readouterr().err.strip()
    assert "command.json" in error and "\n" not in error
    assert not (tmp_path / "results.md").exists()


def test_the_command_writes_the_page(runs, tmp_path, monkeypatch):
    out = tmp_path / "results.md"
    monkeypatch.setattr("sys.argv", ["x", str(runs[0]), "--output", str(out)])
    assert script.main() == 0
    assert out.read_text().startswith("# Results\n")
