"""Work in processes of its own, some at a time, which end when they are told to or left alone.

A process of its own has the Python lock, the devices and the crashes of its own. Each is asked to
stop by the pipe that it tells its news through: that pipe ends with its parent, however that dies,
while signals may reach it from a terminal or a scheduler as well as from its parent.
"""

import os
import pickle
import signal
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from threading import Thread
from traceback import format_exc
from typing import Any, NamedTuple

from lpg.runs.signals import STOP

# Seconds within which one that was told to stop has saved what it has; its parent, which waits for
# it, has `lpg.runs.signals.GRACE` for all of it.
TO_STOP = 6.0

# What a process does, given something that tells of news and a list that fills when it is to stop.
Work = Callable[[Callable[[Any], None], list[int]], Any]


class News(NamedTuple):
    """Of one process."""

    who: Hashable
    what: Any  # that it told of, what its work returned where `over`, or an exception
    over: bool


class DiedError(RuntimeError):
    """A process that ended without a word; the message says how."""


class Workers:
    """At most `limit` processes; told to stop at the end of the `with` block, ended at once where a
    KeyboardInterrupt ends it."""

    def __init__(self, limit: int):
        self._limit = limit
        self._working: dict[Connection, tuple[Hashable, Any]] = {}

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type[BaseException] | None, *others: object) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.kill()
        for _ in self.stop():
            pass

    @property
    def free(self) -> int:
        """Processes that may be started now."""
        return self._limit - len(self._working)

    def start(self, who: Hashable, work: Work) -> None:
        """`work` goes there pickled."""
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_main, args=(work, theirs), daemon=True)
        with _deaf():
            process.start()
        theirs.close()  # or its end would go unnoticed
        self._working[ours] = who, process

    def news(self, seconds: float) -> Iterator[News]:
        """What there is, waited for no longer than that if there is none."""
        for connection in wait(list(self._working), seconds):
            assert isinstance(connection, Connection)
            who, process = self._working[connection]
            try:
                what, over = connection.recv()
            except (EOFError, ConnectionError):
                what, over = None, True
            if over:
                process.join(TO_STOP)
                if what is None and process.exitcode:
                    what = DiedError(_how(process.exitcode))
                self._end(connection)
            yield News(who, what, over)

    def stop(self) -> Iterator[News]:
        """Tell all to stop; their news until the last has, or is ended after `TO_STOP` seconds."""
        end = time.monotonic() + TO_STOP
        for connection in self._working:
            with suppress(OSError):  # it has ended by itself
                connection.send(None)
        while self._working:
            yield from self.news(max(0.0, end - time.monotonic()))
            if time.monotonic() >= end:
                self.kill()

    def kill(self) -> None:
        """End all at once."""
        for connection in list(self._working):
            self._end(connection)

    def _end(self, connection: Connection) -> None:
        _, process = self._working.pop(connection)
        process.kill()  # of no effect where it has ended
        process.join()
        connection.close()


def _how(code: int) -> str:
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}"
    return f"it ended with exit code {code}"


@contextmanager
def _deaf() -> Iterator[None]:
    """Signals wait, here and in what is started meanwhile, where `_main` sees to them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _main(work: Work, connection: Connection) -> None:
    """Of a process that was started."""
    stop: list[int] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's, which the parent hears too
    signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
    Thread(target=_listen, args=(connection, stop), daemon=True).start()
    try:
        last = work(lambda what: _tell(connection, what, False), stop)
    except Exception as error:
        last = _portable(error)
    _tell(connection, last, True)


def _portable(error: Exception) -> Exception:
    """As it arrives, with where it was raised; in words where it does not."""
    error.add_note(format_exc())
    with suppress(Exception):
        return pickle.loads(pickle.dumps(error))
    return DiedError(f"{type(error).__name__}: {error}")


def _listen(connection: Connection, stop: list[int]) -> None:
    """Until the parent says so or is no more."""
    with suppress(EOFError, OSError):
        connection.recv()
    stop.append(signal.SIGTERM)
    time.sleep(TO_STOP)
    os._exit(1)


def _tell(connection: Connection, what: Any, over: bool) -> None:
    with suppress(OSError):  # the parent is no more
        connection.send((what, over))
