"""One owner of a run directory, whatever becomes of it."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lpg.runs.owner import NAME, OwnedError, Owner

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from lpg.runs.owner import Owner
owner = Owner(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(100)
"""


def holder(directory):
    """Another process that holds the directory, once it does."""
    command = [sys.executable, "-c", HOLD, str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_the_second_is_told_who_the_first_is_and_kill_9_frees(tmp_path):
    process = holder(tmp_path)
    try:
        with pytest.raises(OwnedError) as caught:
            Owner(tmp_path)
        assert f"{tmp_path} is being written by process {process.pid} on " in str(caught.value)
        assert "\n" not in str(caught.value)
        assert f"process {process.pid} " in (tmp_path / NAME).read_text()
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    owner = Owner(tmp_path)
    assert f"process {os.getpid()} " in (tmp_path / NAME).read_text()
    owner.release()
    owner.release()
    assert list(tmp_path.iterdir()) == []
    again = holder(tmp_path)
    again.kill()
    again.communicate()


def test_a_file_system_without_locks_is_said_so(tmp_path, monkeypatch, capsys):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    Owner(tmp_path).release()
    said = capsys.readouterr().err
    assert said == (
        f"{tmp_path} is on a file system without locks (No locks available): start no second run "
        "there.\n"
    )


def test_a_lock_on_a_file_that_was_taken_away_is_none(tmp_path, monkeypatch):
    """Between opening and locking, the holder may have unlinked it and another made a new one."""
    real, taken = fcntl.lockf, []

    def once(file, how):
        if not taken:
            taken.append((tmp_path / NAME).unlink())
        return real(file, how)

    monkeypatch.setattr(fcntl, "lockf", once)
    owner = Owner(tmp_path)
    assert (tmp_path / NAME).read_text().startswith("process ")
    owner.release()
