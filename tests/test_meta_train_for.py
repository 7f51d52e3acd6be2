"""Meta-training by the clock: what it leaves can be gone on from and chosen among."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lpg.files.storage import load_rule

ROOT = Path(__file__).parent.parent
SHIPPED = ROOT / "lpg" / "shipped"
TINY = [
    "--preset",
    "quick",
    "--envs",
    "short",
    "--lifetimes",
    "4",
    "--num-envs",
    "2",
    "--num-steps",
    "5",
    "--num-updates",
    "2",
    "--rule.hidden-size",
    "8",
    "--validation-updates",
    "5",
    "--validation-seeds",
    "1",
]


def run(script, *arguments):
    done = finished(script, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def finished(script, *arguments):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "1"}
    env.pop("XLA_FLAGS", None)
    command = [sys.executable, str(ROOT / "scripts" / script), *arguments, "--", *TINY]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_leaves_rules_and_goes_on_where_it_stopped(tmp_path):
    out = tmp_path / "lent"
    flags = ["--output", str(out), "--seconds", "1", "--log-every", "2", "--keep-every", "2"]
    run("meta_train_for.py", *flags, "--save-state")
    before = json.loads((out / "time.json").read_text())["meta_steps"]
    rules = sorted((out / "rules").iterdir())
    assert load_rule(rules[-1]).provenance["meta_step"] == before
    run("meta_train_for.py", *flags)
    steps = [json.loads(x)["meta_step"] for x in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)) and steps[-1] > before

    chosen = tmp_path / "chosen.jsonl"
    run("validate_rules.py", str(out / "rules"), "--output", str(chosen), "--every", "1000")
    (line,) = map(json.loads, chosen.read_text().splitlines())
    assert line["file"] == max(x.name for x in (out / "rules").iterdir())
    assert set(line["environments"]) == {"short"} and 0 <= line["score"] <= 1

    first_in_turn = out / "rules" / "other.safetensors"
    shutil.copy(SHIPPED / "lpg-cpu.safetensors", first_in_turn)
    refused = finished("validate_rules.py", str(out / "rules"), "--output", str(chosen))
    assert refused.returncode == 2 and "hidden_size (64 there, 8 here)" in refused.stderr
