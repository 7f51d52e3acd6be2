"""The command line: presets, overrides, refusals; and, slowly, signals and kill -9."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

import lpg
import metatrain.__main__
from lpg.rules.lpg import LPG
from metatrain.cli import main, parse
from metatrain.config import ALL_ENVIRONMENTS
from metatrain.presets import PRESETS, WHAT_FOR, with_rule

TINY_RUN = [
    "--preset",
    "quick",
    "--envs",
    "short",
    "--lifetimes",
    "2",
    "--num-envs",
    "4",
    "--num-steps",
    "5",
    "--num-updates",
    "2",
    "--rule.hidden-size",
    "8",
    "--log-every",
    "2",
    "--checkpoint-every",
    "4",
]


def test_published_preset_is_table_2():
    paper = PRESETS["published"]
    assert (paper.lifetimes, paper.num_envs, paper.num_steps, paper.num_updates) == (960, 64, 20, 5)
    assert len(ALL_ENVIRONMENTS) == 15 and paper.envs == ALL_ENVIRONMENTS
    assert (paper.meta_learning_rate, paper.bandit_temperature) == (1e-4, 0.1)
    assert (paper.bandit_exploration, paper.prediction_entropy_cost) == (0.2, 1e-3)
    assert (paper.pi_hat_cost, paper.y_hat_cost) == (1e-3, 1e-3)
    assert set(paper.gammas) == {0.99, 0.995} and set(paper.policy_entropy_costs) == {0.01, 0.02}
    interactions = paper.meta_steps * paper.interactions_per_meta_step
    assert abs(interactions / 1e10 - 1) < 1e-3
    assert (paper.unearned_cost, paper.max_share, paper.average_decay) == (0.0, None, 0.0)
    assert paper.rule == LPG()


def test_paper_preset_departs_from_it_where_it_says_so():
    published, paper = (PRESETS[name].as_json() for name in ("published", "paper"))
    different = {name for name in paper if paper[name] != published[name]}
    assert different == {
        "meta_learning_rate", "meta_adam_epsilon", "max_grad_norm", "max_share", "rule",
        "prediction_entropy_cost", "y_hat_cost", "unearned_cost", "reward_free_share",
        "average_decay",
    }  # fmt: skip
    changed = {k for k, v in paper["rule"].items() if v != published["rule"][k]}
    assert changed == {"prediction_input"}


def test_any_field_overrides_the_preset(tmp_path):
    command = parse([*TINY_RUN, "--run-dir", str(tmp_path), "--seed", "7", "--meta-steps", "9"])
    assert (command.config.seed, command.config.meta_steps) == (7, 9)
    assert command.config.envs == ("short",) and command.config.rule.hidden_size == 8
    assert command.config.meta_learning_rate == PRESETS["quick"].meta_learning_rate


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "nowhere"], "Unknown preset 'nowhere'"),
        (["--preset", "quick", "--lifetimes", "7"], "multiple of the 4 environments"),
        (["--preset", "quick", "--envs", "mars"], "Unknown environment 'mars'"),
        (["--preset", "quick", "--log-every", "0"], "log_every must be at least 1"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path, capsys, arguments, message):
    run_dir = tmp_path / "run"
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--run-dir", str(run_dir)])
    assert caught.value.code == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error
    assert not run_dir.exists()


def start(run_dir, *extra):
    command = [sys.executable, "-m", "metatrain", *TINY_RUN, "--run-dir", str(run_dir), *extra]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    """Wait for the end, which must be a good one; reads and closes the pipes."""
    _, error = process.communicate()
    assert process.returncode == 0, error


def wait_for(path, seconds=300):
    for _ in range(seconds * 20):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


def lines(run_dir):
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    for record in records:
        del record["seconds"], record["interactions_per_second"]
    return records


@pytest.mark.slow
def test_killed_run_ends_in_the_same_bytes(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(whole, "--meta-steps", "200"))
    process = start(killed, "--meta-steps", "200")
    wait_for(killed / "checkpoints" / "4" / "_CHECKPOINT_METADATA")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert len(lines(killed)) < 100
    finish(start(killed, "--meta-steps", "200"))
    assert (whole / "rule.safetensors").read_bytes() == (killed / "rule.safetensors").read_bytes()
    assert lines(whole) == lines(killed)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_save_and_exit_cleanly(tmp_path, number):
    process = start(tmp_path, "--meta-steps", "100000")
    wait_for(tmp_path / "checkpoints" / "4" / "_CHECKPOINT_METADATA")
    process.send_signal(number)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "Saved at meta-step" in out
    reached = int(out.split("Saved at meta-step ")[1].split(";")[0])
    assert (tmp_path / "checkpoints" / str(reached)).exists()
    assert lines(tmp_path)[-1]["meta_step"] == reached


def test_without_a_preset_they_are_named_with_what_they_are_for(capsys):
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert all(f"{name} ({WHAT_FOR[name]})" in said for name in PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_config_comes_back_from_its_file(name, tmp_path):
    config = with_rule(PRESETS[name], "lpg_v")
    for given in (PRESETS[name], config):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(given.as_json()))
        assert parse(["--config", str(path)]).config == given
    command = parse([f"--config={path}", "--meta-steps", "7", "--rule", "lpg"])
    assert command.config.meta_steps == 7 and command.rule == "lpg"
    assert command.config.rule.hidden_size == config.rule.hidden_size
    assert command.config.lifetimes == config.lifetimes and command.run_dir == Path("runs/config")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "Cannot read .*No such file"),
        ("{", "is not the config.json of a run"),
        ("[1]", "is not the config.json of a run"),
        ('{"colour": 3}', "is not the config.json of a run.*colour"),
        ('{"lifetimes": 7}', "multiple of the 15 environments"),
        ('{"rule": {"rule": "dqn"}}', "Unknown kind of rule"),
    ],
)
def test_a_file_that_is_no_config_is_one_sentence(text, message, tmp_path, capsys):
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(path)])
    assert ended.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_preset_and_a_file_are_not_both_taken(capsys):
    with pytest.raises(SystemExit):
        main(["--preset", "quick", "--config", "config.json"])
    assert "either --preset or --config" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["list"], ["--version"]])
def test_what_needs_no_device_is_answered_at_once(arguments, monkeypatch, capsys):
    def device(*arguments):
        raise AssertionError("a device was asked for")

    monkeypatch.setattr(metatrain.__main__, "start", lambda command: None)
    monkeypatch.setattr(metatrain.__main__, "_find_devices", device)
    monkeypatch.setattr(sys, "argv", ["metatrain", *arguments])
    monkeypatch.setenv("COLUMNS", "80")
    metatrain.__main__.main()
    said = capsys.readouterr().out
    if arguments == ["list"]:
        words = " ".join([*WHAT_FOR, *WHAT_FOR.values()]).split()
        assert set(words) <= set(said.split()) and max(map(len, said.splitlines())) <= 80
    else:
        assert said == f"metatrain {lpg.__version__}\n" and lpg.__version__ == version("lpg-engine")
