"""How programs are timed: by turns, and without the round that compiles."""

import time

import timing


def test_programs_run_by_turns_and_the_first_round_is_not_counted():
    calls = []
    programs = {name: lambda name=name: calls.append(name) for name in ("one", "two")}
    rounds = timing.seconds_by_turns(programs, 3)
    assert calls == ["one", "two"] * 4
    assert [list(one) for one in rounds] == [["one", "two"]] * 3


def test_seconds_are_the_programs_own(monkeypatch):
    """By a clock that only the programs move; the first call of each takes ten times as long."""
    now = [0.0]
    costs = {"slow": iter([50.0, 5.0, 6.0]), "fast": iter([10.0, 1.0, 2.0])}
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def program(name):
        def run():
            now[0] += next(costs[name])

        return run

    found = timing.seconds_by_turns({name: program(name) for name in costs}, 2)
    assert found == [{"slow": 5.0, "fast": 1.0}, {"slow": 6.0, "fast": 2.0}]
