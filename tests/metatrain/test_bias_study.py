"""The study: what is measured, which settings, what is kept on disk, and its command."""

import io
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console
from some_slow import some_slow

from lpg.runs import figures, signals, streams
from metatrain.bias import __main__, accuracy, cli, kept, study
from metatrain.bias.accuracy import Result, Setting, compared, summary
from metatrain.bias.dilemma import Dilemma

QUIET = Console(file=io.StringIO())


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Few dots, which are soon drawn."""
    monkeypatch.setitem(figures.STYLE, "savefig.dpi", 20)


def test_measures_are_the_loops():
    rng = np.random.default_rng(0)
    found, true = rng.normal(size=(2, 5, 3)) + 0.5, rng.normal(size=(2, 3))
    with jax.enable_x64(True):
        got = {k: np.asarray(x) for k, x in compared(jnp.asarray(found), jnp.asarray(true)).items()}
    for m in range(2):
        estimates = found[m]
        cosines = [x @ true[m] / np.linalg.norm(x) / np.linalg.norm(true[m]) for x in estimates]
        assert got["acc"][m] == pytest.approx(np.mean(cosines), rel=1e-12)
        correlations = [np.corrcoef(x, true[m])[0, 1] for x in estimates]
        assert got["centred_acc"][m] == pytest.approx(np.mean(correlations), rel=1e-12)
        variances = [sum((x - x.mean()) ** 2) / 4 for x in estimates.T]
        assert got["trace_variance"][m] == pytest.approx(sum(variances), rel=1e-12)
        assert got["std_sum"][m] == pytest.approx(sum(np.sqrt(variances)), rel=1e-12)
        error = (estimates.mean(0) - true[m]) ** 2
        assert got["mse_of_mean"][m] == pytest.approx(error.mean(), rel=1e-12)
        np.testing.assert_allclose(got["size"][m], np.sqrt((estimates**2).mean(0)), rtol=1e-12)


def test_a_summary_is_of_mdps():
    of_two = np.array([0.2, 0.6])
    result = Result(*5 * [of_two], theta_mse=np.array([[1.0, 2.0], [3.0, 6.0]]), size=np.eye(2))
    found = summary(result)
    assert found["acc"] == pytest.approx(0.4) and found["acc_se"] == pytest.approx(0.2)
    assert found["theta_mse"] == [2.0, 4.0] and found["size"] == [0.5, 0.5]
    assert "size" not in summary(result._replace(size=np.eye(3)[:2]))


def test_the_grids_are_the_papers():
    grids = study.grids()
    assert len(set(grids["figure5"])) == 8 * 4 * 8
    assert len(set(grids["figure6"])) == 7 * 4 * 8
    assert len(set(grids["figure7"])) == 6 * 4 * 8
    assert {(s.problem, s.roles) for s in grids["figure8"]} == {("lirpg", "ESE")}
    assert {s.trajectories for s in grids["figure8"]} == {16, 32, 64, 128, 256}
    assert len(grids["hessian"]) == 9 * 4
    assert {(s.mdps, s.repeats) for s in grids["figure5"]} == {(10, 20)}
    assert {s.repeats for s in grids["composition"]} == {10}
    quick = study.grids(quick=True)
    assert quick.keys() == grids.keys()
    assert all(len(quick[name]) < len(grids[name]) for name in quick)


def fake(monkeypatch):
    """The settings that are measured, and numbers told apart by their order."""
    measured = []

    def measure(setting):
        measured.append(setting)
        return {"acc": len(measured)}

    monkeypatch.setattr(Setting, "measured", measure)
    return measured


def test_what_is_on_disk_is_not_computed_again(tmp_path, monkeypatch):
    measured, path = fake(monkeypatch), tmp_path / "cells.jsonl"
    first, second, third = (Setting(trajectories=n) for n in (2, 4, 8))
    kept.compute([first, second], path, QUIET)
    assert measured == [first, second]
    with path.open("a") as file:
        file.write('{"setting": {"problem": "ma')  # as a process that was killed leaves it
    cells = kept.compute([first, third, second], path, QUIET)
    assert measured == [first, second, third]
    assert cells == {first: {"acc": 1}, second: {"acc": 2}, third: {"acc": 3}}
    assert kept.read(path, Setting) == cells
    assert len(path.read_text().splitlines()) == 3


def test_a_signal_ends_it_between_two_cells(tmp_path, monkeypatch):
    measured = fake(monkeypatch)
    received = []

    class Signals:
        def __enter__(self):
            return received

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(kept, "stop_signals", Signals)
    add = kept._append
    monkeypatch.setattr(kept, "_append", lambda *x: (add(*x), received.append(2)))
    settings = [Setting(trajectories=n) for n in (2, 4)]
    assert kept.compute(settings, tmp_path / "cells.jsonl", QUIET) is None
    assert measured == settings[:1] == list(kept.read(tmp_path / "cells.jsonl", Setting))
    # Nor is another file begun, be it the last cell of its own that was under way.
    received.clear()
    monkeypatch.setattr(Dilemma, "measured", lambda _: pytest.fail("computed"))
    chosen = {"figure5": settings[1:], "figure9": [Dilemma()]}
    assert cli._computed(chosen, tmp_path) is None
    assert measured == settings and not (tmp_path / "dilemma.jsonl").exists()


@pytest.mark.parametrize(
    "name",
    some_slow(["figure5", "figure8", "composition", "hessian", "mgrl"], ["figure8", "composition"]),
)
def test_each_figure_is_drawn(tmp_path, name):
    settings = study.grids(quick=True)[name]
    if name == "figure5":
        settings = [s for s in settings if s.roles in ("SSS", "EEE")]
    cell = dict.fromkeys(("acc", "std_sum", "trace_variance", "mse_of_mean"), 0.5)
    cells = {s: {**cell, "theta_mse": [0.1], "size": [0.2, 0.3]} for s in settings}
    cli.show(name, settings, cells, tmp_path)
    assert {x.suffix for x in tmp_path.iterdir()} == {".png", ".pdf"}


@pytest.mark.slow
def test_figure_9_and_the_reference_are_shown(tmp_path):
    grids = study.grids(quick=True)
    cells = dict.fromkeys(grids["reference"], dict.fromkeys(("acc", "std_sum"), 0.123))
    cells = {s: {**x, "acc_se": 0.01, "std_sum_se": 0.02} for s, x in cells.items()}
    cli.show("reference", grids["reference"], cells, tmp_path)
    text = (tmp_path / "reference.md").read_text()
    assert "Acc, K = 1, n = 16 (30 MDPs x 5):\n\n| | SSS | ESS | SES" in text
    assert text.count("| loaded_dice | 0.123 ± 0.010 |") == 4
    curves = study.curves()
    assert len(set(curves)) == 4 + 3 + 3 + 3 and {s.seeds for s in curves} == {40, 1}
    names = dict.fromkeys(("reward", "acc", "outer_exact_acc"), [0.1, 0.2])
    cli.show("figure9", curves, dict.fromkeys(curves, names), tmp_path)
    assert {x.suffix for x in tmp_path.iterdir()} == {".png", ".pdf", ".md"}


REFUSED = [
    (["--estimator", "dicey"], "estimator must be one of autodiff, lvc, loaded_dice, dice, score"),
    (
        ["--roles", "SES_"],
        "roles must be one of SSS, ESS, SES, EES, SSE, ESE, SEE, EEE, got 'SES_'",
    ),
    (["--problem", "lola"], "problem must be one of maml, lirpg, mgrl, got 'lola'"),
    (["--inner-steps", "0"], "inner_steps must be at least 1, got 0"),
    (["--trajectories", "-2"], "trajectories must be at least 1, got -2"),
    (["--repeats", "1"], "repeats must be at least 2, got 1"),
    (["--inner-rate", "nan"], "inner_rate must be positive and finite, got nan"),
    (["--value-noise", "-1"], "value_noise must be finite and not below 0, got -1.0"),
    (["--seed", "-1"], "seed must lie in [0, 2^32), got -1"),
]


@pytest.mark.parametrize(("arguments", "told"), REFUSED)
def test_bad_input_is_one_sentence(tmp_path, capsys, arguments, told):
    with pytest.raises(SystemExit) as caught:
        cli.main(["accuracy", "--output", str(tmp_path / "a.json"), *arguments])
    error = capsys.readouterr().err.strip()
    assert caught.value.code == 2 and error == f"metatrain.bias: {error.partition(': ')[2]}"
    assert told in error and "\n" not in error and not list(tmp_path.iterdir())


def test_an_unknown_figure_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["figures", "--run-dir", str(tmp_path / "run"), "--only", "figure4"])
    assert caught.value.code == 2 and not list(tmp_path.iterdir())
    assert "Unknown figure 'figure4'; known are figure5" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_computes_in_64_bits_and_leaves_others_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "enable_compilation_cache", lambda: None)
    monkeypatch.setitem(accuracy.QUICKLY, "xla_backend_optimization_level", 0)
    output = tmp_path / "new" / "a.json"
    sizes = ["--mdps", "2", "--repeats", "2", "--trajectories", "3", "--roles", "EEE"]
    cli.main(["accuracy", "--output", str(output), *sizes])
    found = json.loads(output.read_text())
    assert found["acc"] == pytest.approx(1, abs=1e-14) and found["std_sum"] == 0
    assert found["setting"]["trajectories"] == 3
    assert found["trace_variance"] == 0 and found["theta_mse"][0] < 1e-28
    assert jnp.zeros(()).dtype == jnp.float32
    sampled = replace(Setting(mdps=2, repeats=2, trajectories=3), roles="SSE", estimator="lvc")
    with jax.enable_x64(True):
        found = summary(accuracy.measure(sampled))
    assert 0 < found["acc"] < 0.999 and found["std_sum"] > 0


def test_the_command_begins_as_all_do_but_for_its_64_bits(monkeypatch, capsys):
    """Signals and streams are the process's own, and left alone here."""
    monkeypatch.setattr(signals, "obey", lambda _: None)
    monkeypatch.setattr(streams, "shield", lambda: None)
    monkeypatch.setattr("sys.argv", ["metatrain.bias", "accuracy", "--output", "x", "--roles", "E"])
    with pytest.raises(SystemExit) as caught, jax.enable_x64(True):
        __main__.main()
    assert caught.value.code == 2 and "roles must be one of" in capsys.readouterr().err
    monkeypatch.setenv("JAX_OPTIMIZATION_LEVEL", "O1")
    with pytest.raises(SystemExit):
        __main__.main()
    assert "JAX_OPTIMIZATION_LEVEL is set to O1" in capsys.readouterr().err
