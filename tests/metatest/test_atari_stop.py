"""Atari runs that are told to stop: at the next update, with everything saved."""

import os
import signal
from dataclasses import replace

import pytest
from test_atari import TINY, programs, run

from lpg.runs.signals import Stopped
from metatest.atari.env import AtariEnv

__all__ = ["programs"]  # a fixture


def test_a_signal_saves_and_stops(programs, tmp_path):
    def interrupt(updates, line):
        if line and line["update"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        run(programs, tmp_path, 10, interrupt)
    lines = run(programs, tmp_path, 10)
    assert [line["update"] for line in lines] == [2, 4, 6, 8, 10]


@pytest.mark.slow
def test_a_signal_is_heard_at_the_next_update_however_far_the_next_line_is(
    programs, tmp_path, monkeypatch
):
    seldom, played, rollout = replace(TINY, log_every=9, checkpoint_every=9), [], AtariEnv.rollout

    def interrupt(self, choose, num_steps):
        played.append(len(played))
        if len(played) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return rollout(self, choose, num_steps)

    monkeypatch.setattr(AtariEnv, "rollout", interrupt)
    counted = []
    with pytest.raises(Stopped):
        run(programs, tmp_path, 10, lambda n, line: counted.append(n), seldom)
    assert len(played) == sum(counted) == 3
    lines = run(programs, tmp_path, 10, options=seldom)
    assert [(line["update"], line["updates"]) for line in lines] == [(3, 3), (9, 6), (10, 1)]
    assert len(played) == 10
