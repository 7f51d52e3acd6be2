"""When a run's curves are drawn, and where they find no room."""

import errno
from types import SimpleNamespace

import pytest
from tiny import TINY

from metatrain.engine import EngineState
from metatrain.records import records
from metatrain.records.run_directory import RunDirectoryError

STATE = EngineState(**dict.fromkeys(EngineState._fields))  # nobody looks into it here


@pytest.fixture
def kept(tmp_path):
    """Records of which nothing but curves comes to the disk."""
    found = records.Records(tmp_path, TINY)
    nothing = SimpleNamespace(
        save=lambda *_: None, save_rules=lambda *_: None, export_rule=lambda *_: None, path=tmp_path
    )
    found._disk = nothing, nothing
    return found


def test_curves_take_a_twentieth_of_the_time_and_are_whole_in_the_end(monkeypatch, kept):
    """A second each, so twenty lie between the beginnings of two drawings."""
    clock, drawn = [100.0], []

    def draw_all(run_dir, arms):
        drawn.append(clock[0])
        clock[0] += 1.0

    monkeypatch.setattr(records, "draw_all", draw_all)
    monkeypatch.setattr(records.time, "monotonic", lambda: clock[0])
    for meta_step, now in enumerate((100.0, 110.0, 119.0, 120.0, 130.0)):
        clock[0] = now
        kept.save(meta_step, STATE)
    assert drawn == [100.0, 120.0]
    kept.export_rule(4, STATE)
    assert drawn == [100.0, 120.0, 130.0]
    kept.export_rule(4, STATE)
    assert len(drawn) == 3


def test_a_disk_that_is_full_when_curves_are_drawn_ends_in_a_sentence(monkeypatch, kept):
    def draw_all(run_dir, arms):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(records, "draw_all", draw_all)
    with pytest.raises(RunDirectoryError, match=r"curves of .* \(No space left on device\); make"):
        kept.save(1, STATE)
