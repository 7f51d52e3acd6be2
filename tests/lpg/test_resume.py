"""A run is only taken up again with the options that made it, and its log where it was."""

import json

import pytest

from lpg.runs.resume import forget_after, keep_options

OPTIONS = {"arms": (1.0, 2.0), "seeds": 3}


def test_same_options_and_free_ones_are_taken_up(tmp_path):
    path = tmp_path / "options.json"
    keep_options(path, OPTIONS)
    keep_options(path, {**OPTIONS, "seeds": 5}, free=("seeds",))
    keep_options(path, {**OPTIONS, "seeds": 5})  # the file has the newest


@pytest.mark.parametrize(
    "now, told",
    [
        ({**OPTIONS, "arms": (1.0,)}, r"arms \(\[1.0, 2.0\] -> \[1.0\]\)"),
        ({"arms": (1.0, 2.0)}, r"seeds \(3 -> None\)"),
        ({**OPTIONS, "more": 1}, r"more \(None -> 1\)"),
    ],
)
def test_other_options_are_refused_and_the_file_stays(tmp_path, now, told):
    path = tmp_path / "options.json"
    keep_options(path, OPTIONS)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=told):
        keep_options(path, now)
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_damaged_file_is_one_sentence(tmp_path, text):
    path = tmp_path / "options.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="not valid JSON of options, so this run cannot be taken"):
        keep_options(path, OPTIONS)
    assert path.read_text() == text


def test_options_of_an_older_version_are_compared_as_what_they_come_to(tmp_path):
    path = tmp_path / "options.json"
    path.write_text(json.dumps({"arm": 1.0, "seeds": 3}))

    def upgrade(before):
        return {"arms": (before["arm"], 2.0), "seeds": before["seeds"]}

    with pytest.raises(ValueError, match="other options"):
        keep_options(path, OPTIONS)
    with pytest.raises(ValueError, match=r"arms \(\(1.0, 2.0\) -> \[1.0, 2.0\]\)"):
        keep_options(path, OPTIONS, upgrade=upgrade)
    keep_options(path, OPTIONS, upgrade=lambda x: {**upgrade(x), "arms": [x["arm"], 2.0]})
    assert json.loads(path.read_text()) == {"arms": [1.0, 2.0], "seeds": 3}


LINES = [{"step": 2, "loss": 0.5}, {"step": 4, "loss": None}, {"step": 6, "loss": 1.0}]


def written(path, *more):
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES) + "".join(more))
    return path


@pytest.mark.parametrize(("last", "kept"), [(6, 3), (5, 2), (4, 2), (3, 1), (1, 0)])
def test_a_log_ends_where_its_checkpoint_does(tmp_path, last, kept):
    log = written(tmp_path / "log.jsonl")
    assert forget_after(log, "step", last) == LINES[:kept]
    assert [json.loads(x) for x in log.read_text().splitlines()] == LINES[:kept]
    assert forget_after(log, "step", last) == LINES[:kept]  # once more changes nothing


@pytest.mark.parametrize("torn", ['{"step": 8, "lo', "{", "\x00\x00"])
def test_a_torn_last_line_goes_and_the_next_one_starts_on_a_line_of_its_own(tmp_path, torn):
    log = written(tmp_path / "log.jsonl", torn)
    assert forget_after(log, "step", 100) == LINES
    with log.open("a") as file:
        file.write(json.dumps({"step": 8}) + "\n")
    assert forget_after(log, "step", 100) == [*LINES, {"step": 8}]


def test_no_log_is_an_empty_one(tmp_path):
    assert forget_after(tmp_path / "log.jsonl", "step", 3) == []
