"""The README's blocks as they stand: Python runs, commands are those that the parsers take."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tyro

import metatest.cli
import metatrain.__main__
import metatrain.cli
from lpg.rules.lpg import LPG
from metatrain.presets import PRESETS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.M | re.S)
SHELL = "".join(text for language, text in BLOCKS if language == "sh")
LINES = [shlex.split(line, comments=True) for line in SHELL.replace("\\\n", " ").splitlines()]
COMMANDS = [line for line in LINES if line and line[0] in ("metatrain", "metatest")]
WORLDS = """
from gymnax.environments.classic_control.cartpole import CartPole as MyEnv
"""


RULES = """
from lpg.learner import FrozenRule
from lpg.rules.a2c import A2C as MyRule


def MyLearner():
    return FrozenRule(MyRule(), ())
"""


class Parsed(BaseException):
    """Raised in place of what a command would do; nothing in the commands catches it."""


@pytest.fixture
def files_that_commands_name(tmp_path, monkeypatch):
    """The config of a run, and a package of the user's own."""
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    config = json.dumps(PRESETS["quick"].as_json())
    (tmp_path / "runs" / "mine" / "config.json").write_text(config)
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "worlds.py").write_text(WORLDS)
    (tmp_path / "my_package" / "rules.py").write_text(RULES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_package", raising=False)


def test_there_is_something_to_read():
    assert [language for language, _ in BLOCKS].count("python") == 3
    assert len(COMMANDS) > 10
    assert {command[0] for command in COMMANDS} == {"metatrain", "metatest"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:4]))
def test_commands_are_parsed(command, monkeypatch, files_that_commands_name):
    """By the entry points themselves, up to where they have all that they were told."""
    real = tyro.cli

    def parse(*args, **options):
        real(*args, **options)
        raise Parsed

    monkeypatch.setattr(tyro, "cli", parse)
    monkeypatch.setattr(sys, "argv", command)
    program, first = command[:2]
    if (program, first) == ("metatrain", "list"):
        monkeypatch.setattr(metatrain.__main__, "start", lambda command: None)
        metatrain.__main__.main()  # which is nothing to parse
        return
    with pytest.raises(Parsed):
        metatest.cli.main() if program == "metatest" else metatrain.cli.main(command[1:])


def test_shell_blocks_are_shell():
    checked = subprocess.run(["bash", "-n"], input=SHELL, text=True, capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.slow
def test_python_blocks_run_one_after_the_other():
    names = {}
    for language, text in BLOCKS:
        if language == "python":
            exec(compile(text, "README.md", "exec"), names)
    targets, m = names["targets"], names["m"]
    assert (targets.pi_hat.shape, targets.y_hat.shape) == ((20, 64), (20, 64, m))
    assert names["params"].height == 11  # of dense
    assert int(names["state"].meta_step) == 10
    assert names["rule"] == LPG(hidden_size=PRESETS["quick"].rule.hidden_size)
    fresh = PRESETS["quick"].rule.init(jax.random.key(0))
    assert jax.tree.map(np.shape, names["rule_params"]) == jax.tree.map(np.shape, fresh)


def test_what_is_linked_is_there():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 10
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []
