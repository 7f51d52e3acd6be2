"""The script that meta-trains with each surrogate: what it asks for, and its table."""

import numpy as np
import surrogates as script

from metatrain.cli import parse


def test_all_see_as_many_interactions():
    given = [parse(script.arguments_of("lvc", k)).config for k in (5, 20)]
    budgets = [x.meta_steps * x.interactions_per_meta_step for x in given]
    assert budgets[0] == budgets[1] and [x.num_updates for x in given] == [5, 20]
    assert [x.meta_steps // x.validate_every for x in given] == [4, 4]
    assert all(x.rule.surrogate == "lvc" for x in given)


def line(name, long, validation):
    return {
        "name": name, "long_by_arm": [long, 0.0, 0.0, 0.0], "long_y_cut": 0.1, "short": 1.0,
        "collapsed_by_arm": [0.0, 0.5, 0.0, 0.5], "validation": validation,
        "reward_free_network": 0.6,
    }  # fmt: skip


def test_the_table_has_means_and_standard_errors():
    lines = [line("lvc-K5", 0.8, 0.9), line("lvc-K5", 0.4, 0.7), line("score-K20", 0.5, 0.6)]
    first, second = script.table(lines).splitlines()[2:]
    assert first == (
        "| 5 | lvc | 2 | 0.60 (0.20) | 0.15 (0.05) | 0.00 (0.00) | 0.10 (0.00) | 1.00 (0.00) "
        "| 0.25 (0.00) | 0.80 (0.10) | 0.60 (0.00) |"
    )
    assert second.startswith("| 20 | score | 1 | 0.50 | 0.12 |")


def test_every_seed_is_a_mark_and_their_mean_a_bar(tmp_path, monkeypatch):
    drawn = []
    plain = script.title

    def heard(of, text):
        drawn.append(of)
        plain(of, text)

    monkeypatch.setattr(script, "title", heard)
    lines = [line("lvc-K5", 0.8, 0.9), line("lvc-K5", 0.4, 0.7), line("score-K20", 0.5, 0.6)]
    script.draw(lines, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    first = drawn[0]
    assert [list(x.get_ydata()) for x in first.get_lines()] == [[0.8, 0.4], [0.5]]
    bars = [x.get_segments()[0][0][1] for x in first.collections]
    np.testing.assert_allclose(bars, [0.6, 0.5])
    assert [round(x.get_xdata()[0]) for x in first.get_lines()] == [1, 3]
