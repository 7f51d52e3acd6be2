"""SIGINT and SIGTERM, at any moment between the first import and the last byte.

Python tells of a signal between two steps of its own, and a compilation or a meta-step is one of
these that can take minutes; a KeyboardInterrupt that is raised within a callback is lost. So a
command blocks these signals, which nothing then raises or interrupts, and a thread waits for them:
it asks the work in hand to end, and ends the process where that does not come about. A checkpoint
that is being written then is as one whose writer was killed.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STOP = (signal.SIGINT, signal.SIGTERM)
# A terminal that is closed, and one that wants no output from the background.
UNHEARD = (signal.SIGHUP, signal.SIGTTOU)
STOPPING = "Stopping at the next point; once more to stop at once."
GRACE = 8.0  # seconds from a signal to the end of the process, at most


class Stopped(Exception):
    """A signal asked to stop; everything is saved."""


class _Watch:
    """What `command` was told, and whether it is at work that ends by itself when told."""

    def __init__(self, command: str):
        self.command = command
        self.received: list[int] = []
        self.announcement: str | None = None

    def wait(self) -> None:
        """To the first signal, and on to the end of the process."""
        number = signal.sigwait(STOP)
        self.received.append(number)
        if self.announcement is not None:
            _say(self.announcement)
            signal.sigtimedwait(STOP, GRACE)
        name = signal.Signals(number).name
        _say(f"{self.command}: ended by {name}; what was saved stays, run the same command again.")
        os._exit(128 + number)


_watch: _Watch | None = None


def obey(command: str) -> None:
    """Be ended by SIGINT and SIGTERM within `GRACE`, from here to the end of the process.

    To be called from the main thread before there are others. Exit codes are 128 + the signal's
    number, but for work that ended by itself.
    """
    global _watch
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    for number in UNHEARD:
        signal.signal(number, signal.SIG_IGN)
    _watch = _Watch(command)
    threading.Thread(target=_watch.wait, name="signals", daemon=True).start()


@contextmanager
def stop_signals(announcement: str = STOPPING) -> Iterator[list[int]]:
    """A list that fills when Ctrl-C or SIGTERM arrives; a second one stops at once.

    Work that looks into it now and then, saves and returns has `GRACE` to do so in a command; a
    program that imports this one has all the time it wants.

    Args:
        announcement: printed to stderr when the first one arrives.
    """
    if _watch is not None:
        _watch.announcement = announcement
        try:
            yield _watch.received
        finally:
            _watch.announcement = None
        return
    received: list[int] = []

    def handle(number: int, frame: Any) -> None:
        del frame
        if received:
            raise KeyboardInterrupt
        received.append(number)
        _say(announcement)

    before = [signal.signal(s, handle) for s in STOP]
    try:
        yield received
    finally:
        for s, handler in zip(STOP, before, strict=True):
            signal.signal(s, handler)


@contextmanager
def leaving() -> Iterator[None]:
    """A command's whole work: once a signal came, its end is the process's, whose own way of ending
    can take Python and its libraries seconds on a busy machine."""
    code: Any = 0
    try:
        yield
    except SystemExit as ending:
        code = ending.code
        if _watch is None or not _watch.received:
            raise
    if _watch is not None and _watch.received:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _say(sentence: str) -> None:
    # In one piece: the process may end at any moment, also between a sentence and its line's end.
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()
