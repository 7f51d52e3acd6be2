"""Studies of tuned agents: every name is one that there is, and scores are shares of IMPALA's."""

import numpy as np
import pytest
import tuning_studies as script
from test_statistics import result

from metatest.algorithms import AlgorithmOptions, choose


@pytest.mark.parametrize("study", script.STUDIES)
def test_every_bar_is_an_algorithm(study):
    names = script.names(script.STUDIES[study])
    assert [x.name for x in choose(tuple(names), AlgorithmOptions())] == names


def by_game(**returns):
    """Of algorithms: [S] returns on each of two games, where chance is 1."""
    return script.by_name(
        [
            result(game, name, values, random=1.0)
            for name, games in returns.items()
            for game, values in games.items()
        ]
    )


BARS = {"first": {"": "impala"}, "second": {"": "stac"}}


def test_a_score_is_a_share_of_what_impala_is_better_than_chance_by():
    found = by_game(
        impala={"a": [3.0, 5.0], "b": [2.0, 2.0]}, stac={"a": [4.0, 4.0], "b": [6.0, 2.0]}
    )
    first, second = script.figures(BARS, found)
    assert first["games"] == {"a": 1.0, "b": 1.0} and first["median"][0] == 1.0
    assert second["games"] == {"a": 1.0, "b": 3.0} and second["median"][0] == 2.0
    low, high = second["median"][1:]
    assert 1.0 <= low < 2.0 < high <= 3.0
    assert second["returns"]["b"] == [4.0, pytest.approx(np.std([6, 2], ddof=1) / 2**0.5)]


def test_games_that_impala_does_not_play_and_bars_that_are_not_played_are_left_out(tmp_path):
    found = by_game(impala={"a": [3.0, 5.0], "b": [1.0, 0.9]}, stac={"b": [6.0, 2.0]})
    rows = script.figures(BARS, found)
    assert [(row["algorithm"], list(row["games"])) for row in rows] == [("impala", ["a"])]
    script.draw("a study", rows, tmp_path / "study.png")
    assert (tmp_path / "study.png").stat().st_size > 1000
