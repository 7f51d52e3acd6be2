"""Runs whose newest checkpoint was damaged end in the same bytes as one that nobody touched."""

import json
import random
import shutil
from dataclasses import replace

import pytest
from tiny import TINY

from metatrain.engine import Engine
from metatrain.train import RunOptions, train
from metatrain.validation import Validation

TRIALS = 30
CONFIG = replace(TINY, meta_steps=6, validate_every=3)


def damage(folder, draws):
    """One file of a checkpoint flipped in a bit, cut, emptied or gone; what was done."""
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.name != "commit_success.txt")
    file = draws.choice(files)
    data = file.read_bytes()
    how = draws.choice(["flip", "cut", "empty", "gone"])
    if how == "gone":
        file.unlink()
    elif how == "flip" and data:
        place = draws.randrange(len(data))
        file.write_bytes(
            data[:place] + bytes([data[place] ^ 1 << draws.randrange(8)]) + data[place + 1 :]
        )
    else:
        file.write_bytes(data[: draws.randrange(len(data))] if how == "cut" and data else b"")
    return f"{how} {file.relative_to(folder)}"


def results(run_dir):
    """The rules, and the log without its times."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        for name in ("seconds", "interactions_per_second"):
            del line[name]
        line.get("validation", {}).pop("seconds", None)
    names = ("rule.safetensors", "rule_last.safetensors")
    return [(run_dir / name).read_bytes() for name in names], lines


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_damaged_checkpoint_costs_what_came_after_the_one_before(tmp_path, monkeypatch, capsys):
    engine = Engine(CONFIG.rule, CONFIG)
    validation = Validation(CONFIG.rule, CONFIG, engine.cohorts)
    monkeypatch.setattr("metatrain.train.fitting_engine", lambda rule, config: engine)
    monkeypatch.setattr("metatrain.train.Validation", lambda *args: validation)
    half = tmp_path / "half"
    train(replace(CONFIG, meta_steps=4), RunOptions(half, 1, 1))
    whole = shutil.copytree(half, tmp_path / "whole")
    train(CONFIG, RunOptions(whole, 1, 1))
    draws, set_aside = random.Random(0), 0
    for trial in range(TRIALS):
        run_dir = shutil.copytree(half, tmp_path / str(trial))
        done = [damage(run_dir / "checkpoints" / "4", draws)]
        if draws.random() < 0.3:
            done.append(damage(run_dir / "checkpoints" / "3", draws))
        assert train(CONFIG, RunOptions(run_dir, 1, 1)) == 6, done
        assert results(run_dir) == results(whole), done
        set_aside += len(list(run_dir.glob("damaged/*")))
        shutil.rmtree(run_dir)
    assert set_aside >= TRIALS
