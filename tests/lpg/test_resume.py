"""A run is only taken up again with the options that made it."""

import pytest

from lpg.runs.resume import keep_options

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
