"""The Atari table of MGRL with LVC: what is played, and what is read off its logs."""

import json
from pathlib import Path

import lvc_mgrl as script
import pytest

from metatest.atari.games import resolve


def test_all_have_as_many_real_updates():
    """Rollouts are 64 x 5 steps x 4 frames; a window of three with its outer one takes four."""
    each = 64 * 5 * 4
    found = {label: script.frames(x, 30) for label, x in script.ALGORITHMS.items()}
    assert found["A2C"] == 30 * each
    assert found["LVC"] == found["plain"] == 30 * 4 * each
    assert found["LVC, no discard"] == found["plain, no discard"] == 30 * each
    assert len(resolve(script.GAMES)) == 8


def test_quick_plays_less(tmp_path):
    study = script.Study(tmp_path, quick=True)
    given = script.arguments(study, "lvc_mgrl")
    assert given[:5] == ["--rule", "lvc_mgrl", "--atari", "Asteroids", "--atari-options.frames"]
    assert given[5] == str(3 * 4 * 64 * 5 * 4)
    assert "--atari-options.settings.life-loss" in given


def write(run_dir: Path, seed: int, lines):
    folder = run_dir / "lvc_mgrl" / "atari" / "qbert" / "lvc_mgrl" / f"seed{seed}"
    folder.mkdir(parents=True)
    text = "".join(json.dumps({"episodes": n, "score": x}) + "\n" for n, x in lines)
    (folder / "metrics.jsonl").write_text(text)


def test_the_table_is_of_the_last_64_games(tmp_path):
    write(tmp_path / "a", 0, [(50, 900.0), (40, 10.0), (0, None), (30, 20.0)])
    write(tmp_path / "b", 1, [(4, 30.0)])
    write(tmp_path / "b", 2, [(0, None)])
    mean = (40 * 10 + 30 * 20) / 70
    assert script.last_games(next(tmp_path.rglob("seed0/*.jsonl"))) == pytest.approx(mean)
    table = script.table((tmp_path / "a", tmp_path / "b")).splitlines()
    (row,) = (line for line in table if line.startswith("| qbert"))
    assert row.split("|")[2].strip() == "22.14 ± 7.86 (2)"
    assert set(row.split("|")[3:-1]) == {" – "}
