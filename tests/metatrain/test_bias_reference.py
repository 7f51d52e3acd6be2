"""The committed reference of 100 MDPs: against an independent study, ordered, and found again."""

from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

from metatrain.bias import study
from metatrain.bias.accuracy import Setting
from metatrain.bias.dilemma import Dilemma
from metatrain.bias.kept import read
from metatrain.bias.study import FOUR, reference

CELLS = Path(__file__).parents[2] / "docs" / "bias" / "cells.jsonl"
CODES = ("SSS", "ESS", "SES", "EES", "SSE", "ESE", "SEE")
# Acc of 10 MDPs at n = 16 and 64 (spec/bias.md, section 5: an independent run).
INDEPENDENT = {
    "autodiff": ".37/.53 .38/.55 .55/.81 .59/.82 .64/.69 .70/.71 .94/.98",
    "lvc": ".51/.78 .55/.80 .55/.81 .59/.82 .88/.96 .95/.98 .94/.98",
    "loaded_dice": ".44/.76 .49/.78 .55/.81 .59/.82 .73/.92 .81/.94 .94/.98",
    "dice": ".07/.19 .06/.20 .09/.30 .14/.33 .21/.51 .36/.64 .51/.80",
}
SPREADS = {"autodiff": 0.67, "lvc": 0.33, "loaded_dice": 0.88, "dice": 2.64}  # std-sum, n = 64, SSE
NOISELESS = {"autodiff": (0.947, 0.959, 0.963), "lvc": (0.976, 0.986, 0.990)}  # 5 MDPs, ESE
SLACK = 0.03


@cache
def cells():
    return read(CELLS, Setting)


def cell(estimator, roles, trajectories=16, **others):
    return cells()[
        Setting(
            estimator=estimator, roles=roles, trajectories=trajectories, mdps=100, **others
        )
    ]  # fmt: skip


def allowed(found, what, mdps):
    """Three standard errors of a difference of means over 100 MDPs and over `mdps` others."""
    return 3 * found[f"{what}_se"] * np.sqrt(100) * np.sqrt(1 / 100 + 1 / mdps)


@pytest.mark.parametrize("estimator", INDEPENDENT)
def test_one_update_is_as_an_independent_study_has_it(estimator):
    for code, both in zip(CODES, INDEPENDENT[estimator].split(), strict=True):
        for n, its in zip((16, 64), map(float, both.split("/")), strict=True):
            found = cell(estimator, code, n)
            assert abs(found["acc"] - its) <= max(SLACK, allowed(found, "acc", 10)), (code, n)
    found = cell(estimator, "SSE", 64)
    assert abs(found["std_sum"] - SPREADS[estimator]) <= allowed(found, "std_sum", 10)


def test_values_without_noise_leave_what_autodiff_forgets():
    for estimator, accuracies in NOISELESS.items():
        for n, its in zip((16, 64, 256), accuracies, strict=True):
            found = cell(estimator, "ESE", n, value_noise=0.0)
            assert abs(found["acc"] - its) <= max(SLACK, allowed(found, "acc", 5))
        assert found["acc"] < 0.995


def test_at_three_updates_lvc_is_better_than_autodiff():
    for code in ("SSE", "ESE"):
        by = {e: cell(e, code, 32, inner_steps=3) for e in ("autodiff", "lvc")}
        errors = [x["acc_se"] for x in by.values()]
        assert by["lvc"]["acc"] - by["autodiff"]["acc"] > 3 * np.hypot(*errors)


@pytest.mark.parametrize("n", [16, 64])
def test_accuracies_are_ordered(n):
    """The larger never falls short of the smaller by more than the slack."""

    def rises(*chain):
        values = [cell(*x, n)["acc"] for x in chain]
        assert all(b - a > -SLACK for a, b in zip(values, values[1:], strict=False)), chain

    for estimator in FOUR:
        rises(*((estimator, code) for code in ("SSS", "ESS", "SES", "EES")))
        for code in CODES:
            rises(("dice", code), (estimator, code))
    for code in ("SSE", "ESE", "SSS", "ESS"):
        rises(("autodiff", code), ("lvc", code))
        rises(("autodiff", code), ("loaded_dice", code))
        spread = [cell(e, code, n)["std_sum"] for e in ("lvc", "loaded_dice")]
        assert spread[0] < spread[1]
    rises(*(("loaded_dice", code) for code in ("SSE", "ESE", "SEE")))
    rises(("lvc", "SSE"), ("lvc", "ESE"), ("lvc", "SEE"), ("lvc", "ESE"))


def test_estimators_of_one_first_derivative_are_the_same_where_no_hessian_is_sampled():
    for code in ("SES", "EES", "SEE"):
        for n in (16, 64):
            same = [cell(e, code, n)["acc"] for e in ("autodiff", "lvc", "loaded_dice")]
            np.testing.assert_allclose(same, same[0], atol=1e-5)


LEARNT = {(128, 128): -1.45, (1024, 1024): -1.09, ("exact",) * 2: -1.11, ("buffer",) * 2: -1.28}
SEEDS = {(128, 128): 30, (1024, 1024): 10, ("exact",) * 2: 10, ("buffer",) * 2: 20}


def learnt(composition, hessian):
    """Reward of a round after 500 updates of two players, and its standard error over 40 seeds."""
    cell = dilemmas()[Dilemma(composition=composition, hessian=hessian, seeds=40)]
    return cell["reward"][-1], cell["reward_se"][-1]


@cache
def dilemmas():
    return read(CELLS.with_name("dilemma.jsonl"), Dilemma)


def test_players_learn_what_an_independent_study_has_them_learn():
    """Sampled inner steps (spec/bias.md, section 13), and those of exact players."""
    for inner, theirs in LEARNT.items():
        ours, error = learnt(*inner)
        spread = error * np.sqrt(40)
        assert abs(ours - theirs) <= 3 * spread * np.sqrt(1 / 40 + 1 / SEEDS[inner]), inner
    on_policy, its_error = learnt(128, 128)
    for inner in ((1024, 1024), ("exact", "exact"), ("buffer", "buffer")):
        ours, error = learnt(*inner)
        assert ours - on_policy > 2 * np.hypot(error, its_error), inner
    for lookaheads, theirs in ((0, -1.9994), (1, -1.0023), (2, -1.0014)):
        found = dilemmas()[
            Dilemma("exact", "exact", outer="exact", lookaheads=lookaheads, seeds=1)
        ]  # fmt: skip
        assert found["value"][-1] == pytest.approx(theirs, abs=1e-4)


DRAWN = ["figure5", "figure6", "figure7", "figure8", "figure9", "composition", "hessian", "mgrl"]


@pytest.mark.parametrize("name", [*DRAWN, "adaptation", "reference"])
def test_every_figure_of_the_documents_is_there_to_be_drawn(name):
    """From data beside it, without a computation."""
    settings = study.grids()[name]
    kept = read(CELLS.with_name(study.FILES[type(settings[0])]), type(settings[0]))
    assert not [setting for setting in settings if setting not in kept]
    assert CELLS.with_name(f"{name}.{'md' if name == 'reference' else 'png'}").exists()


@pytest.mark.slow
@pytest.mark.parametrize("roles", ["SSE", "ESS"])
def test_the_reference_is_found_again(roles):
    """Equal seeds, so equal to what float64 and another processor leave."""
    for setting in reference():
        chosen = (setting.roles, setting.inner_steps, setting.trajectories) == (roles, 1, 16)
        if chosen and setting.value_noise:
            with jax.enable_x64(True):
                found = setting.measured()
            kept = cells()[setting]
            for what in ("acc", "std_sum", "trace_variance", "acc_se"):
                assert found[what] == pytest.approx(kept[what], rel=1e-4)
