"""The command's refusals, what it passes on, and how it ends when things go wrong on the way."""

import json
import sys
from dataclasses import replace

import pytest
from test_algorithms import rule_file
from test_metatest_cli import run
from test_statistics import result

from lpg.runs.signals import Stopped
from metatest import cli, evaluate_all
from metatest.report import cli as report_cli
from metatest.report.results import keep_result

SHORT = ["--envs", "short", "--steps", "1280", "--seeds", "1"]  # soon over where it is not refused


def made(algorithm, spec, late):
    """The algorithm's result, not another's of its name."""
    return replace(result(spec.name, algorithm.name, late), version=algorithm.version)


def refused(monkeypatch, capsys, *arguments):
    """The exit code and the one sentence on stderr."""
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, *arguments)
    error = capsys.readouterr().err.strip()
    assert error.startswith("metatest: ") and "\n" not in error
    return caught.value.code, error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name at least one environment with --envs or game with --atari"),
        (["--atari", "Braekout"], "did you mean breakout"),
        (["--atari", "pong", "--jobs", "0"], "jobs must be at least 1, got 0"),
        ([*SHORT, "--gamma", "1.0"], "gamma must lie in [0, 1), got 1.0"),
        ([*SHORT, "--reward-scale", "0"], "reward_scale must be positive, got 0.0"),
        (["--atari", "pong"], "pip install 'lpg-engine[atari]'"),  # where ale-py is missing
        (
            ["--atari", "pong", "--steps", "9"],
            "Atari does not take --steps; give --atari-options.f",
        ),
    ],
)
def test_nothing_is_written_for_what_cannot_be_run(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.setitem(sys.modules, "ale_py.vector_env", None)
    rule = rule_file(tmp_path / "rule.safetensors")
    out = tmp_path / "out"
    code, error = refused(monkeypatch, capsys, "--rule", rule, "--run-dir", out, *arguments)
    assert code == 2 and message in error and not out.exists()


def test_agents_and_budgets_are_those_asked_for(tmp_path, monkeypatch):
    seen = []

    def planted(algorithm, spec, budget, on_progress, place):
        seen.append((algorithm.name, spec, budget))
        return result(spec.name, algorithm.name, [1.0])

    monkeypatch.setattr(evaluate_all, "evaluate", planted)
    monkeypatch.setattr(cli, "write_report", lambda output, runs: None)
    monkeypatch.setattr(cli, "print_report", lambda report, directory: None)
    rule = rule_file(tmp_path / "rule.safetensors")
    run(
        monkeypatch, "--rule", rule, "--run-dir", tmp_path / "out", "--envs", "short", "sparse",
        "--baselines", "a2c", "--agent", "D(8)", "--optimizer", "adam", "--learning-rates", 0.25,
        "--seeds", 3, "--selection-seeds", 2, "--steps", 5000, "--selection-steps", 400,
        "--num-envs", 4, "--num-steps", 5, "--gamma", 0.5, "--reward-scale", 2,
        "--reward-centre", 1, "--seed", 7,
    )  # fmt: skip
    names = [(spec.name, algorithm) for algorithm, spec, _ in seen]
    assert names == [(env, x) for env in ("short", "sparse") for x in ("lpg", "a2c")]
    for _, spec, budget in seen:
        assert (spec.agent, spec.optimizer, spec.learning_rates) == ("D(8)", "adam", (0.25,))
        assert spec.num_arms == 3  # Table 3's alpha_y stay
        assert vars(budget) == {
            "seeds": 3, "selection_seeds": 2, "steps": 5000, "selection_steps": 400,
            "num_envs": 4, "num_steps": 5,
            "gamma": 0.5, "reward_scale": 2.0, "reward_centre": 1.0, "seed": 7,
        }  # fmt: skip


@pytest.mark.parametrize("envs", [("sparse", "short"), ("sparse",)])
def test_what_diverges_takes_nothing_with_it(tmp_path, monkeypatch, capsys, envs):
    """The others have their results, and the report says what has none, and why."""

    def planted(algorithm, spec, budget, on_progress, place):
        if spec.name == "sparse":
            raise FloatingPointError("Agents of lpg on sparse <diverged>.")
        return made(algorithm, spec, [1.0])

    monkeypatch.setattr(evaluate_all, "evaluate", planted)
    rule, out = rule_file(tmp_path / "rule.safetensors"), tmp_path / "out"
    arguments = ["--rule", rule, "--run-dir", out, "--envs", *envs]
    code, error = refused(monkeypatch, capsys, *arguments)
    assert code == 1 and error.endswith("Agents of lpg on sparse <diverged>.")
    rows = json.loads((out / "summary.json").read_text())["rows"]
    assert [row["env"] for row in rows] == list(envs[1:])
    page = (out / "report.html").read_text()
    assert "<li>sparse, lpg: Agents of lpg on sparse &lt;diverged&gt;.</li>" in page
    if len(envs) > 1:  # mended, the same command leaves nothing to complain of
        monkeypatch.setattr(evaluate_all, "evaluate", lambda a, spec, *_: made(a, spec, [2.0]))
        run(monkeypatch, *arguments)
        assert "Without a result" not in (out / "report.html").read_text()
        rows = [json.loads(x) for x in (out / "results.jsonl").read_text().splitlines()]
        assert {x["env"]: x["late_return"] for x in rows} == {"short": [2.0], "sparse": [2.0]}


def test_results_of_other_environments_stay(tmp_path, monkeypatch):
    """A second command into the same directory adds to what is there."""
    value = iter((1.0, 2.0, 3.0))
    monkeypatch.setattr(evaluate_all, "evaluate", lambda a, spec, *_: made(a, spec, [next(value)]))
    rule, out = rule_file(tmp_path / "rule.safetensors"), tmp_path / "out"
    for envs in (("short",), ("sparse", "short")):
        run(monkeypatch, "--rule", rule, "--run-dir", out, "--envs", *envs)
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert {row["env"]: row["late_return"] for row in rows} == {"sparse": [2.0], "short": [3.0]}
    assert len(rows) == 2
    (out / "results.jsonl").write_text("{}")
    with pytest.raises(SystemExit):
        run(monkeypatch, "--rule", rule, "--run-dir", out, "--envs", "long")
    assert (out / "results.jsonl").read_text() == "{}"  # not written over


def test_a_stopped_sweep_says_how_to_go_on_and_its_rule_had_the_atari_head(
    tmp_path, monkeypatch, capsys
):
    seen = []

    def stopped(run_dir, algorithms, games, options, *others):
        seen.extend((games[0].name, options.seeds, *(x.learner.heads(4) for x in algorithms)))
        raise Stopped

    monkeypatch.setattr(cli, "play_all", stopped)
    monkeypatch.setattr(cli, "check_installed", lambda: None)
    rule = rule_file(tmp_path / "rule.safetensors")
    arguments = ["--atari", "Pong", "--atari-options.seeds", 5, "--run-dir", tmp_path / "out"]
    run(monkeypatch, "--rule", rule, *arguments)
    game, seeds, heads = seen
    assert (game, seeds, heads.value) == ("pong", 5, 1)
    assert "run the same command to go on" in capsys.readouterr().out


def test_a_report_of_nothing_and_one_without_a_place_are_refused(tmp_path, capsys):
    assert report_cli.main([]) == 2
    assert "Name at least one run directory" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    (tmp_path / "run").mkdir()
    keep_result(tmp_path / "run", result("a", "lpg", [1.0]))
    arguments = [str(tmp_path / "run"), "--output", str(tmp_path / "file" / "out")]
    assert report_cli.main(arguments) == 1
    error = capsys.readouterr().err.strip()
    assert "choose another --output" in error and "\n" not in error
