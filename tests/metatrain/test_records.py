"""How often a run's curves are drawn."""

from types import SimpleNamespace

from tiny import TINY

from metatrain.engine import EngineState
from metatrain.records import records

STATE = EngineState(**dict.fromkeys(EngineState._fields))  # nobody looks into it here


def test_curves_take_a_twentieth_of_the_time_and_are_whole_in_the_end(monkeypatch, tmp_path):
    """A second each, so twenty lie between the beginnings of two drawings."""
    clock, drawn = [100.0], []

    def draw_all(run_dir, arms):
        drawn.append(clock[0])
        clock[0] += 1.0

    monkeypatch.setattr(records, "draw_all", draw_all)
    monkeypatch.setattr(records.time, "monotonic", lambda: clock[0])
    kept = records.Records(tmp_path, TINY)
    nothing = SimpleNamespace(
        save=lambda *_: None, save_rules=lambda *_: None, export_rule=lambda *_: None, path=tmp_path
    )
    kept._disk = nothing, nothing
    for meta_step, now in enumerate((100.0, 110.0, 119.0, 120.0, 130.0)):
        clock[0] = now
        kept.save(meta_step, STATE)
    assert drawn == [100.0, 120.0]
    kept.export_rule(4, STATE)
    assert drawn == [100.0, 120.0, 130.0]
    kept.export_rule(4, STATE)
    assert len(drawn) == 3
