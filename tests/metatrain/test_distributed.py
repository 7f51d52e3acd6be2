"""Processes on the command line, and who does what for all of them; none is started."""

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from metatrain.devices import distributed, processes
from metatrain.devices.distributed import Distributed, ProcessesError


@pytest.fixture
def told(monkeypatch):
    """What JAX is told."""
    found = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *arguments: found.append(arguments))
    return found


def test_processes_are_read_from_a_command_line_whose_other_flags_are_not_looked_at(told):
    distributed.initialize([
        "--preset", "no-such", "--distributed.coordinator", "host:1234", "--lifetimes", "x",
        "--distributed.num-processes=3", "--distributed.process-id", "2", "--run-dir", "y",
        "--distributed.local-device-ids", "0", "4",
    ])  # fmt: skip
    assert told == [("host:1234", 3, 2, (0, 4))]
    distributed.initialize(["--distributed.cluster", "--preset", "quick"])
    assert told[1:] == [(None, None, None, None)]


@pytest.mark.parametrize(
    "arguments", [[], ["--preset", "quick"], ["--distributed.cluster", "--help"]]
)
def test_a_single_process_and_one_that_asks_for_help_need_nobody(told, arguments):
    distributed.initialize(arguments)
    Distributed().initialize()
    assert told == []


@pytest.mark.parametrize("given", [{"num_processes": 2}, {"process_id": 0, "num_processes": 2}])
def test_less_than_a_whole_description_is_refused(given):
    with pytest.raises(ValueError, match="together"):
        Distributed(**given)


def test_processes_that_do_not_meet_are_one_sentence(monkeypatch):
    def refuse(*arguments):
        raise RuntimeError("DEADLINE_EXCEEDED:\n  barrier " + "x" * 1000)

    monkeypatch.setattr(jax.distributed, "initialize", refuse)
    with pytest.raises(ProcessesError, match="DEADLINE_EXCEEDED: barrier x") as caught:
        Distributed("host:1", 2, 0).initialize()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def of_two(monkeypatch, me, other_says=False):
    """This process is one of two; the other one says so much in answer to any question."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: me)
    monkeypatch.setattr(
        multihost_utils, "process_allgather", lambda x: np.stack([x, np.full_like(x, other_says)])
    )


def test_the_first_acts_for_all(monkeypatch):
    calls = []
    assert processes.on_first(lambda: calls.append(0) or 7) == 7
    of_two(monkeypatch, me=0)
    assert processes.is_first() and processes.on_first(lambda: calls.append(1) or 8) == 8
    of_two(monkeypatch, me=1)
    assert processes.on_first(lambda: calls.append(2)) is None and not processes.is_first()
    assert calls == [0, 1]


def test_where_the_first_fails_all_stop(monkeypatch):
    def fail():
        raise OSError("disk full")

    for count_of_them in (1, 2):
        if count_of_them == 2:
            of_two(monkeypatch, me=0)
        with pytest.raises(OSError, match="disk full"):
            processes.on_first(fail)
    of_two(monkeypatch, me=1, other_says=True)
    with pytest.raises(ProcessesError, match="Process 0 stopped"):
        processes.on_first(fail)


def test_a_flag_of_any_process_is_everyones(monkeypatch):
    assert [processes.any_process(flag) for flag in (False, True)] == [False, True]
    for other in (False, True):
        of_two(monkeypatch, me=0, other_says=other)
        assert [processes.any_process(flag) for flag in (False, True)] == [other, True]
