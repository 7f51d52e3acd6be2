"""Metaparameters over life in the report: what is drawn, and what TensorBoard reads."""

import json

import numpy as np
import pytest
from test_statistics import result

from lpg.runs import figures
from metatest.report import traces
from metatest.report.results import Result, keep_result, load_results
from metatest.report.write import write_report


def traced(env="a", algorithm="stac", **members):
    """Three points, two seeds."""
    plain = vars(result(env, algorithm, [1.0, 2.0])) | {
        "updates": [1, 2, 3], "interactions": [10, 20, 30],
        "reward_per_step": [[0.0, 1.0]] * 3,
        "episode_return": [[None, None], [1.0, None], [2.0, 4.0]],
        "traces": {name: [[x, x + 0.1]] * 3 for name, x in members.items()},
    }  # fmt: skip
    return Result(**plain)


@pytest.fixture
def drawn(monkeypatch):
    """The figures, which are not rendered."""
    found = []
    monkeypatch.setattr(figures, "save", lambda figure, path: found.append(figure))
    return found


def test_a_panel_a_metaparameter_and_a_line_a_head(drawn, tmp_path):
    rows = [
        traced(gamma=0.9, lam=0.5), result("a", "a2c", [0.0, 1.0]),
        traced("b", "stacx", **{"gamma.0": 0.9, "gamma.1": 0.7}),
    ]  # fmt: skip
    assert traces.draw_traces({"run": rows}, tmp_path / "x.png")
    axes = drawn[0].axes
    titles = ["a, stac: gamma", "a, stac: lam", "b, stacx: gamma"]
    assert [axis.get_title() for axis in axes] == titles
    mean, *seeds = axes[0].lines
    np.testing.assert_allclose(mean.get_xydata(), [[10, 0.95], [20, 0.95], [30, 0.95]])
    assert len(seeds) == 2 and len(axes[2].lines) == 2
    np.testing.assert_allclose(axes[2].lines[1].get_ydata(), 0.75)
    assert axes[0].get_legend() is None
    assert [text.get_text() for text in axes[2].get_legend().get_texts()] == ["gamma.0", "gamma.1"]


def test_more_heads_than_have_names_are_told_by_a_colour_bar(drawn, tmp_path):
    members = {f"gamma.{i}": i / 40 for i in range(32)}
    assert traces.draw_traces({"_r": [traced("$e$", **members)], "b": []}, tmp_path / "x.png")
    panel, bar = drawn[0].axes
    assert panel.get_title() == "$e$, _r: stac: gamma" and bar.get_ylabel() == "head or quantile"
    assert (
        bar.get_ylim() == (0, 31) and len({tuple(line.get_color()) for line in panel.lines}) == 32
    )


def test_nothing_is_drawn_where_nothing_tunes_itself(drawn, tmp_path):
    assert not traces.draw_traces({"run": [result("a", "a2c", [0.0, 1.0])]}, tmp_path / "x.png")
    assert drawn == []


def test_traces_are_in_results_and_in_the_report(tmp_path):
    keep_result(tmp_path, traced(gamma=0.9))
    line = json.loads((tmp_path / "results.jsonl").read_text())
    assert line["traces"] == {"gamma": [[0.9, 1.0]] * 3}
    assert load_results(tmp_path) == [traced(gamma=0.9)]
    write_report(tmp_path, [tmp_path])
    page = (tmp_path / "report.html").read_text()
    assert "Metaparameters over life" in page and page.count("data:image/png") == 2
    pictures = {x.name for x in tmp_path.glob("*.p[nd][gf]")}
    names = ("curves", "metaparameters")
    assert pictures == {f"{name}.{kind}" for name in names for kind in ("png", "pdf")}


def test_tensorboard_has_means_by_environment_steps(tmp_path, monkeypatch):
    written = []

    class Log:
        def __init__(self, directory, first_step):
            assert directory == tmp_path / "tensorboard" / "a" / "stac"

        def add(self, step, scalars):
            written.append((step, dict(scalars)))

        def close(self):
            written.append("closed")

    monkeypatch.setattr(traces, "EventLog", Log)
    traces.write_events(tmp_path, traced(**{"gamma.0": 0.9, "lam": 0.5}))
    *points, closed = written
    assert closed == "closed" and [step for step, _ in points] == [10, 20, 30]
    assert points[0][1] == pytest.approx({"reward per step": 0.5, "gamma/0": 0.95, "lam": 0.55})
    assert [p[1].get("return") for p in points] == [None, 1.0, 3.0]
