"""Signals end a command within its grace whatever it is doing, and never by a traceback."""

import signal
import subprocess
import sys
import time

import pytest

from lpg.runs import signals

STOP = (signal.SIGINT, signal.SIGTERM)
ENDED = "cmd: ended by {}; what was saved stays, run the same command again.\n"


def child(code, grace=8.0):
    """A command that says when it is at work."""
    before = f"from lpg.runs import signals\nimport time\nsignals.GRACE = {grace}\n"
    before += "signals.obey('cmd')\n"
    process = subprocess.Popen(
        [sys.executable, "-c", before + code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "at work\n"
    return process


def ended(process, seconds=5.0):
    out, error = process.communicate(timeout=seconds)
    return process.returncode, out, error


@pytest.mark.parametrize("number", STOP)
def test_where_nothing_is_to_be_saved_a_signal_ends_the_command(number):
    """Sleeping stands for compiling: one step of Python's that takes long."""
    process = child("print('at work', flush=True); time.sleep(60)")
    process.send_signal(number)
    assert ended(process) == (128 + number, "", ENDED.format(number.name))


@pytest.mark.parametrize("number", STOP)
def test_work_that_looks_ends_by_itself(number):
    process = child(
        "with signals.stop_signals('Saving.') as stop:\n"
        "    print('at work', flush=True)\n"
        "    while not stop: time.sleep(.01)\n"
        "print(*map(int, stop))\n"
    )
    process.send_signal(number)
    assert ended(process) == (0, f"{int(number)}\n", "Saving.\n")


@pytest.mark.parametrize("last, code", [("pass", 0), ("sys.exit(3)", 3), ("sys.exit()", 0)])
def test_nothing_of_pythons_own_end_is_waited_for_after_a_signal(last, code):
    process = child(
        "import atexit, sys\n"
        "atexit.register(time.sleep, 60)\n"
        "with signals.leaving():\n"
        "    with signals.stop_signals('Saving.') as stop:\n"
        "        print('at work', flush=True)\n"
        "        while not stop: time.sleep(.01)\n"
        "    print('saved')\n"
        f"    {last}\n"
    )
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (code, "saved\n", "Saving.\n")


@pytest.mark.parametrize("last, code", [("pass", 0), ("sys.exit(3)", 3)])
def test_without_a_signal_a_command_ends_as_python_does(last, code):
    process = child(
        "import atexit, sys\n"
        "atexit.register(print, 'end')\n"
        "with signals.leaving():\n"
        "    print('at work', flush=True)\n"
        "    time.sleep(.5)\n"  # or both lines would be read at once
        f"    {last}\n"
    )
    assert ended(process) == (code, "end\n", "")


BLIND = (
    "with signals.stop_signals('Saving.'):\n    print('at work', flush=True)\n    time.sleep(60)"
)


def test_work_that_does_not_look_is_ended_after_its_grace():
    process = child(BLIND, grace=0.3)
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (143, "", "Saving.\n" + ENDED.format("SIGTERM"))


def test_the_second_signal_ends_at_once():
    process = child(BLIND)
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "Saving.\n"
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "", ENDED.format("SIGINT"))


def test_the_grace_is_that_of_the_work_alone():
    """What comes after the work is ended at once again."""
    process = child(
        "with signals.stop_signals('Saving.'): pass\nprint('at work', flush=True); time.sleep(60)"
    )
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (143, "", ENDED.format("SIGTERM"))


def test_a_terminal_that_is_closed_ends_nothing():
    process = child("print('at work', flush=True); time.sleep(.5); print('done')")
    process.send_signal(signal.SIGHUP)
    assert ended(process) == (0, "done\n", "")


def test_signals_are_heard_before_jax_is_imported():
    code = (
        "import sys, lpg.runs.start\nassert 'jax' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("number", STOP)
def test_in_a_program_of_ones_own_the_first_is_noted_and_the_second_stops(number, capsys):
    with signals.stop_signals("Saving.") as received:
        assert received == []
        signal.raise_signal(number)
        assert received == [number]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert received == [number]
    assert capsys.readouterr().err == "Saving.\n"


def test_signals_are_handled_as_before_once_it_is_over_even_by_an_error():
    before = [signal.getsignal(s) for s in STOP]
    with pytest.raises(KeyError), signals.stop_signals():
        assert all(signal.getsignal(s) not in before for s in STOP)
        raise KeyError
    assert [signal.getsignal(s) for s in STOP] == before


def test_a_signal_among_many_threads_is_not_lost():
    process = child(
        "import threading\n"
        "for _ in range(20): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "print('at work', flush=True)\n"
        "while True: sum(range(1000))\n"
    )
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 130 and time.monotonic() - begun < 5
