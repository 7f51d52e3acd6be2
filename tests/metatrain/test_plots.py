"""Curves of a run, value by value, and the scripts that make them short or lay them together."""

import json

import curve as curve_script
import numpy as np
import overlay_runs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.suite import SUITE
from lpg.runs import figures
from metatrain.records import plots

LATE = {"short": [-1.0, None, 0.5], "distractor": [0.0, 1.0, None], "dense": [1.0, 2.0, 3.0]}
LOSS = (
    "total",
    "policy_gradient",
    "policy_entropy",
    "prediction_entropy",
    "a_square",
    "b_square",
    "c_square",
)


def environment(late, i):
    return {
        "late_return": late[i], "bandit": [0.25 * i, 1 - 0.25 * i], "policy_entropy": 0.1 * i,
        "prediction_information": None if i == 1 else 0.5,
    }  # fmt: skip


def line(i):
    return {
        "meta_step": 10 * (i + 1), "interactions": 100 * (i + 1), "skipped": [0, 2, 1][i],
        "gradient_norm": [1.0, None, 3.0][i], "loss": dict.fromkeys(LOSS, float(i)),
        "environments": {name: environment(late, i) for name, late in LATE.items()},
    }  # fmt: skip


def validated(i, score, best):
    figures = dict.fromkeys([field for field, _ in plots.VALIDATION_PANELS], 0.5)
    found = {"score": score, "best_meta_step": best, "environments": {"short": figures}}
    return line(i) | {"validation": found}


def make_run(path, records):
    path.mkdir()
    (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture
def saved(monkeypatch):
    """Figures by file name, which are not rendered."""
    found = {}
    monkeypatch.setattr(figures, "save", lambda figure, path: found.update({path.name: figure}))
    return found


def legend_of(drawn):
    return [text.get_text() for text in drawn.get_legend().get_texts()]


def test_pictures_are_drawn_of_what_there_is(tmp_path, saved):
    arms = {name: ["0.1, 0.5", "0.1, 1"] for name in LATE}
    plots.draw_all(make_run(tmp_path / "new", []), arms)
    assert saved == {}
    plots.draw_all(make_run(tmp_path / "young", [line(0), line(1), line(2)]), arms)
    assert set(saved) == {"returns.png", "bandit.png", "loss.png"}
    returns, bandit, loss = saved.values()
    # Thin curves of each environment of a family and their mean, normalised by its references.
    dense, chains = returns.axes
    assert (dense.get_title(), chains.get_title()) == ("tabular_grid", "chain")
    row = SUITE["dense"]
    expected = (np.array(LATE["dense"]) - row.random_return) / (row.best_return - row.random_return)
    for drawn in dense.lines[:2]:
        np.testing.assert_allclose(drawn.get_xydata(), np.c_[[10, 20, 30], expected])
    assert legend_of(chains) == ["short", "distractor", "mean"]
    assert [axis.get_title() for axis in loss.axes[:7]] == list(LOSS)
    norm, skipped = (loss.axes[i].lines[0].get_ydata() for i in (7, 8))
    np.testing.assert_array_equal(norm, [1.0, np.nan, 3.0])
    np.testing.assert_array_equal(skipped, [0, 2, 3])
    *panels, bar = bandit.axes
    assert [axis.get_title() for axis in panels] == list(LATE)
    # Meta-steps from left to right, a line of the log covering those since the one before.
    (colours,) = panels[1].collections
    np.testing.assert_array_equal(colours.get_array(), [[0.0, 0.25, 0.5], [1.0, 0.75, 0.5]])
    np.testing.assert_array_equal(colours.get_coordinates()[0, :, 0], [0, 10, 20, 30])
    assert bandit.get_supxlabel() == "meta-step" and "learning rate" in bandit.get_supylabel()
    assert [label.get_text() for label in panels[1].get_yticklabels()] == arms["distractor"]
    assert bar.get_ylabel() == "probability of the arm" and bar.get_ylim() == (0, 1)


def test_worlds_of_ones_own_have_a_panel_of_returns_as_they_are(tmp_path, saved):
    """Beside the suite's, or alone; nobody knows the best there is."""
    own = {"my.worlds:Mine": [3.0, None, 5.0], "Catch-bsuite": [None, 0.0, 1.0]}
    records = [line(i) for i in range(3)]
    for i, record in enumerate(records):
        record["environments"] |= {name: environment(late, i) for name, late in own.items()}
    plots.draw_returns(records, tmp_path / "returns.png")
    other = saved["returns.png"].axes[-1]
    assert len(saved["returns.png"].axes) == 3 and other.get_title() == "other"
    assert legend_of(other) == list(own) and other.get_ylabel() == "late-life return"
    np.testing.assert_array_equal(other.lines[0].get_ydata(), [3.0, np.nan, 5.0])
    for record in records:
        record["environments"] = {name: record["environments"][name] for name in own}
    plots.draw_returns(records, tmp_path / "returns.png")
    assert [axis.get_title() for axis in saved["returns.png"].axes] == ["other"]


def test_a_validation_shows_its_score_and_the_one_exported(tmp_path, saved):
    plots.draw_validation(
        [line(0), validated(1, 0.5, 10), validated(2, 0.25, 20)], tmp_path / "v.png"
    )
    figure = saved["v.png"]
    _, mean, exported = figure.axes[0].lines
    np.testing.assert_array_equal(mean.get_xydata(), [[20, 0.5], [30, 0.25]])
    assert exported.get_xydata()[0, 0] == 20
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["short", "mean", "exported"]


values = st.lists(st.one_of(st.none(), st.floats(-9, 9)), min_size=1, max_size=9)


@settings(max_examples=25, deadline=None)
@given(values, st.integers(1, 6))
def test_smooth_is_the_mean_of_the_lines_that_are_there(curve, width):
    """`width` of them; of an even number one more lies before than after."""
    given_values = np.array([np.nan if x is None else x for x in curve])
    for i, got in enumerate(plots.smooth(given_values, width)):
        near = [x for x in curve[max(0, i - width // 2) : i + (width + 1) // 2] if x is not None]
        np.testing.assert_allclose(got, sum(near) / len(near) if near else np.nan, atol=1e-12)


def test_the_mean_of_curves_leaves_out_what_is_not_there():
    curves = [plots.series([line(i) for i in range(3)], name, "late_return") for name in LATE]
    np.testing.assert_allclose(plots.mean_of_curves(curves), [0.0, 1.5, 1.75])
    none = plots.mean_of_curves([np.array([np.nan]), np.array([np.nan])])
    assert np.isnan(none).all()


def test_runs_are_laid_over_each_other_by_name(tmp_path, saved, monkeypatch):
    runs = [make_run(tmp_path / name, [line(i) for i in range(3)]) for name in ("one", "two")]
    arguments = ["x", str(tmp_path / "both.png"), f"float32={runs[0]}", f"_$o$={runs[1]}"]
    monkeypatch.setattr("sys.argv", arguments)
    overlay_runs.main()
    axis = saved["both.png"].axes[0]
    assert legend_of(axis) == ["float32", "_$o$"]
    np.testing.assert_allclose(axis.lines[1].get_xydata(), [[10, 0.0], [20, 1.5], [30, 1.75]])


def test_a_run_is_told_in_a_few_lines(tmp_path, monkeypatch, capsys):
    """Lines of meta-steps 10 to 30: two share the first 20 meta-steps, and none is in 21 to 25."""
    run = make_run(tmp_path / "run", [line(0), validated(1, 0.5, 20), validated(2, 0.25, 20)])
    monkeypatch.setattr("sys.argv", ["x", str(run), "--every", "20"])
    curve_script.main()
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["meta_step"], first["interactions"], first["gradient_norm"]) == (20, 200, 1.0)
    assert first["policy_entropy"] == dict.fromkeys(LATE, 0.05)
    assert first["prediction_information"] == dict.fromkeys(LATE, 0.5)
    assert (first["validation"], second["validation"]) == (0.5, 0.25)
    # Chains are worth -1 to 1 and 0 by chance: .5 of short's -1 is 0, as returns are clipped.
    assert first["late_normalised"]["short"] == 0.0
    assert first["late_normalised"]["distractor"] == pytest.approx(0.5, abs=0.01)
    assert second["late_normalised"]["distractor"] is None
    monkeypatch.setattr("sys.argv", ["x", str(run), "--every", "5"])
    curve_script.main()
    told = [json.loads(x)["meta_step"] for x in capsys.readouterr().out.splitlines()]
    assert told == [10, 20, 30]
