"""The command end to end, and its refusals."""

import json
import sys
from types import SimpleNamespace

import jax
import pytest

from lpg.files.storage import save_rule
from lpg.rules.lpg import LPG
from metatest.agents import agent_file, load
from metatest.cli import SUBCOMMANDS, main

RULE = LPG(hidden_size=4, prediction_size=3, embedding_size=2)


@pytest.fixture
def rule_file(tmp_path):
    path = tmp_path / "rule.safetensors"
    save_rule(path, jax.device_get(RULE.init(jax.random.key(0))), RULE.architecture(), {})
    return path


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["metatest", *map(str, arguments)])
    main()


def test_writes_results_and_curves(rule_file, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    run(
        monkeypatch, "--rule", rule_file, "--envs", "short", "--seeds", 2, "--steps", 480,
        "--num-envs", 4, "--run-dir", out, "--baselines", "a2c",
        "--save-agents",
    )  # fmt: skip
    results = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [(r["env"], r["algorithm"]) for r in results] == [("short", "lpg"), ("short", "a2c")]
    assert [len(r["selection"]) for r in results] == [9, 9]
    assert all(len(arm) == 4 and arm[3] > 0 for r in results for arm in r["selection"])
    assert [r["interactions"][-1] for r in results] == [480, 480]
    assert all(len(r["late_reward_per_step"]) == 2 for r in results)
    assert (out / "curves.png").stat().st_size > 1000
    numbers = json.loads((out / "summary.json").read_text())
    (found,) = numbers["comparisons"]
    assert (found["env"], found["baseline"], found["steps"]) == ("short", "a2c", 480)
    assert found["verdict"] in ("better", "equal", "worse")
    assert numbers["verdicts"][0][found["verdict"]] == 1
    shown = capsys.readouterr().out
    assert "a2c" in shown and "480" in shown
    for result in results:
        trained = load(agent_file(out, "short", result["algorithm"], seed=1))
        about = trained.about
        assert about["learning_rate"] == pytest.approx(result["learning_rate"])
        assert (about["steps"], about["num_envs"], about["seed"]) == (480, 4, 1)
        assert about["version"] == result["version"]
    assert {path.name for path in (out / "videos").iterdir()} == {"short-lpg.gif", "short-a2c.gif"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--rule": "no-such-rule"}, "No rule named 'no-such-rule'"),
        ({"--rule": "nowhere/rule.safetensors"}, "Cannot read the rule file"),
        ({"--envs": "Pong"}, "Unknown environment 'Pong'"),
        ({"--baselines": "sarsa"}, "Unknown algorithm 'sarsa'"),
        ({"--seeds": "0"}, "seeds must be at least 1"),
        ({"--steps": "1279"}, "1,279 steps are less than one update of lpg on short"),
        ({"--selection-steps": "1279"}, "raise --selection-steps"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    rule_file, tmp_path, monkeypatch, capsys, change, message
):
    options = {"--rule": rule_file, "--envs": "short", "--run-dir": tmp_path / "out"} | change
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, *(x for pair in options.items() for x in pair))
    assert caught.value.code == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error
    assert not (tmp_path / "out").exists()


def test_header_that_does_not_fit_the_tensors_is_refused(tmp_path, monkeypatch, capsys):
    path = tmp_path / "rule.safetensors"
    params = jax.device_get(RULE.init(jax.random.key(0)))
    save_rule(path, params, {**RULE.architecture(), "hidden_size": 5}, {})
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, "--rule", path, "--envs", "short", "--run-dir", tmp_path / "out")
    assert caught.value.code == 2
    assert "shapes" in capsys.readouterr().err


def test_unwritable_run_directory(rule_file, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as caught:
        run(
            monkeypatch, "--rule", rule_file, "--envs", "short", "--run-dir",
            tmp_path / "file" / "out",
        )  # fmt: skip
    assert caught.value.code == 1
    assert "choose another --run-dir" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "module"), SUBCOMMANDS.items())
def test_a_subcommand_gets_the_other_arguments_and_its_code_is_its_own(monkeypatch, name, module):
    seen = []
    planted = SimpleNamespace(main=lambda arguments: seen.append(arguments) or 7)
    monkeypatch.setitem(sys.modules, module, planted)
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, name, "--rule", "x")
    assert (caught.value.code, seen) == (7, [["--rule", "x"]])
