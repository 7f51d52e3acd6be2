"""results.jsonl: what is written is read back, and a line that cannot be read is named."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from test_statistics import result

from metatest.report.results import keep_result, load_results, with_none


def test_results_are_read_back_as_they_were_in_their_order(tmp_path):
    written = [
        result("a", "lpg", [1.5, None], reward=[0.1, 0.1 + 0.2]),
        result("b", "a2c", [1 / 3], random=-1.0, reference=2e-9),
    ]
    for each in written:
        keep_result(tmp_path, each)
    assert load_results(tmp_path) == written
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["env"] for line in lines] == ["a", "b"]


def test_a_field_that_another_version_added_is_passed_over(tmp_path):
    row = asdict(result("a", "lpg", [1.0])) | {"of_the_future": [1, 2]}
    (tmp_path / "results.jsonl").write_text(json.dumps(row) + "\n")
    assert load_results(tmp_path) == [result("a", "lpg", [1.0])]


@pytest.mark.parametrize("line", ['{"env": "a"}', "[1]", "7", '{"env": "a", "suite"'])
def test_the_line_that_cannot_be_read_is_named(tmp_path, line):
    keep_result(tmp_path, result("a", "lpg", [1.0]))
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=r"^Line 2 of .*results\.jsonl is not a result"):
        load_results(tmp_path)


@settings(max_examples=25, deadline=None)
@given(arrays(np.float64, array_shapes(max_dims=3, max_side=3), elements=st.floats()))
def test_numbers_become_json_and_those_it_has_no_word_for_become_null(values):
    text = json.dumps(with_none(values), allow_nan=False)
    expected = np.where(np.isfinite(values), values, np.nan)
    np.testing.assert_array_equal(np.array(json.loads(text), float), expected)
