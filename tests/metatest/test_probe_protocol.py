"""How many lives a probe has, and what is printed and drawn of a probe made up by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from lpg.runs import figures
from metatest.probe import plots
from metatest.probe.cli import as_table
from metatest.probe.protocol import FULL, INTACT, QUICK, Y_CUT, ProbeProtocol
from metatest.probe.results import ChainLives, Estimate, Probe, RewardFree
from metatest.probe.targets import Drift, NoEvidence, Responses

SMALL = ProbeProtocol(
    lives=3, updates=30, num_envs=2, arms=((20.0, 1.0),), arm_lives=2,
    sparse_lives=5, sparse_updates=10, reward_free_lives=7, reward_free_updates=20,
)  # fmt: skip


def test_lives_are_counted_group_by_group():
    """Per variant 2 lives at the one arm and 3 at the headlines', and 3 with alpha_y = 0."""
    groups = [tuple(group) for group in SMALL.chain_groups(True)]
    assert groups == [
        (INTACT, 20.0, 1.0, 2), (INTACT, 40.0, 0.5, 3), (Y_CUT, 20.0, 1.0, 2),
        (Y_CUT, 40.0, 0.5, 3), (INTACT, 40.0, 0.0, 3),
    ]  # fmt: skip
    assert SMALL.total_updates(True) == (2 * 5 + 3) * 30 + 2 * 5 * 10 + 2 * 7 * 20
    assert SMALL.total_updates(False) == (5 + 3) * 30 + 5 * 10 + 2 * 7 * 20


def test_the_headlines_arm_has_its_lives_where_it_is_among_the_arms_too():
    for protocol in (FULL, QUICK):
        sizes = {group[:3]: group.lives for group in protocol.chain_groups(True)}
        headline = [sizes[variant, 40.0, cost] for variant, cost in ((INTACT, 0.5), (INTACT, 0.0))]
        assert headline == [64, 64]
        others = {n for (_, *arm), n in sizes.items() if arm not in ([40.0, 0.5], [40.0, 0.0])}
        assert others == {protocol.arm_lives}
        assert len(sizes) == 2 * len(protocol.arms) + 1


def chains(variant, cost, returns, length=(20, 21, 50)):
    collapsed, known = np.array([False, True, False]), np.full(3, 0.5)
    return ChainLives(
        variant, 40.0, cost, np.array(length), np.array(returns), collapsed, known
    )  # fmt: skip


def made_up(**change):
    """A probe of a rule without predictions, apart from its chains."""
    p = np.array([0.3, 0.7])
    none = Responses(*(np.zeros((2, 0)) for _ in Responses._fields))
    entropies = RewardFree(np.array([0, 10]), np.array([[0.7, 0.5], [0.2, np.nan]]))
    return Probe(**{
        "chains": [chains(INTACT, 0.5, [0.9, 0.8, np.nan])],
        "sparse": {INTACT: Estimate(1.0, None, 1)},
        "table": entropies, "network": entropies, "drift": Drift(p, p, np.array([-0.125, 0.125])),
        "no_evidence": NoEvidence(0.25, 0.75, 9), "responses": none,
    } | change)  # fmt: skip


def printed(probe, capsys):
    Console(width=90).print(as_table(probe, "mine"))
    return capsys.readouterr().out


def test_the_table_has_a_row_for_what_was_measured_and_none_for_what_was_not(capsys):
    shown = printed(made_up(), capsys)
    assert "Probe of mine" in shown and "y cut" not in shown and "alpha_y = 0" not in shown
    rows = {
        line.split("│")[1].strip(): line.split("│")[2:4]
        for line in shown.splitlines()
        if "│" in line
    }
    cells = {name: [cell.strip() for cell in row] for name, row in rows.items()}
    assert cells["late return, L > 20"] == ["0.800", "1"]  # the life that ended no episode is out
    assert cells["share of lives that collapsed"] == ["0.333 ±0.333", "3"]
    assert cells["entropy without reward, table"] == ["0.200", "1"]
    assert cells["drift D(.7)"] == ["0.125", ""] and cells["largest size"] == ["0.750", ""]
    cut = [chains(INTACT, 0.5, [1.0] * 3), chains(Y_CUT, 0.5, [0.0, 0.1, 0.3])]
    assert "0.200 ±0.100" in printed(made_up(chains=cut), capsys)


def test_numbers_that_are_not_known_are_null_in_json():
    found = made_up().to_json()
    assert found["chains"][0]["late_return"] == [0.9, 0.8, None]
    assert found["chains"][0]["length"] == [20, 21, 50]
    assert found["reward_free"]["table"]["mean"] == [pytest.approx(0.6), None]
    assert found["estimates"]["long_chains_intact"] == {
        "mean": pytest.approx(0.8), "standard_error": None, "lives": 1,
    }  # fmt: skip
    assert found["estimates"]["sparse_y_cut"] is None and found["rows"] == 9


@pytest.fixture
def saved(monkeypatch):
    """Figures by the names of their files, which are not rendered."""
    found = {}
    monkeypatch.setattr(figures, "save", lambda figure, path: found.update({path.name: figure}))
    return found


def test_chains_are_drawn_life_by_life_and_by_bins_of_five_lengths(saved):
    """16 to 20 share a bin: the mean of .9 and .1 stands at the mean length of 18."""
    lives = chains(INTACT, 0.5, [0.9, 0.1, 0.6], length=(16, 20, 21))
    plots.draw_chains(made_up(chains=[lives, lives._replace(variant=Y_CUT)]), Path("chains.png"))
    by_length, by_arm = saved["chains.png"].axes
    each, means = by_length.lines[0], by_length.containers[0]
    np.testing.assert_array_equal(each.get_xydata(), [[16, 0.9], [20, 0.1], [21, 0.6]])
    np.testing.assert_allclose(means[0].get_xydata(), [[18, 0.5], [21, 0.6]])
    labels = [text.get_text() for text in by_length.get_legend().get_texts()]
    assert labels == ["intact", "y cut"]
    heights = [bar.get_height() for bar in by_arm.patches]
    np.testing.assert_allclose(heights, [0.6, 0.6])  # of the chains beyond 20, by variant


def test_drift_and_entropies_are_drawn_as_they_were_measured(saved):
    probe = made_up()
    plots.draw_drift(probe, Path("drift.png"))
    drift = saved["drift.png"]
    np.testing.assert_array_equal(drift.axes[1].lines[1].get_xydata(), [[0.7, 0.125]])
    learned = replace(probe, table=RewardFree(np.array([0, 5]), np.eye(2)))
    plots.draw_entropy(learned, Path("entropy.png"))
    entropy = saved["entropy.png"]
    table, network = entropy.axes[0].lines[:2]
    np.testing.assert_allclose(table.get_xydata(), [[0, 0.5], [5, 0.5]])
    np.testing.assert_allclose(network.get_xydata(), [[0, 0.6], [10, 0.2]])
    # Of [1, 0] the standard error is sqrt(.5 / 2) = .5 either side.
    band = entropy.axes[0].collections[0].get_paths()[0].vertices
    np.testing.assert_allclose([band[:, 1].min(), band[:, 1].max()], [0.0, 1.0], atol=1e-12)
