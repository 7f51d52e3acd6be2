"""An emulator behind a thread of its own, so that one that hangs can be left behind.

ale-py waits without a limit, and a thread of its own that throws is one that never answers: nothing
in the same thread could notice. What is received is ready here while the other emulator is seen to.
"""

import atexit
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

PATIENCE = 60.0  # seconds that an answer may take; a step of 15 games takes milliseconds
PARTS = 20  # of PATIENCE: a machine that was asleep has slept through one of them
TO_CLOSE = 5.0  # seconds that its end may take
GO_ON = "run the same command again, which goes on from the last checkpoint"


class EmulatorError(RuntimeError):
    """An emulator that hangs or has died; the message names game, cause and remedy."""


class Emulator:
    """An ale-py vector environment of one game."""

    def __init__(self, game: str, make: Callable[[], Any]):
        """Whatever `make` raises, the first `answer` does as an EmulatorError."""
        self._game, self._open = game, True
        self._tasks: SimpleQueue[Callable[[Any], Any] | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[Any, str | None]] = SimpleQueue()
        arguments = (make, self._tasks, self._answers)
        self._thread = Thread(target=_serve, args=arguments, daemon=True)
        self._thread.start()

    def ask(self, task: Callable[[Any], Any]) -> None:
        """Do that with the environment once all else that was asked is done; `answer` tells what
        came of it, task by task."""
        self._tasks.put(task)

    def answer(self) -> Any:
        """Of the oldest task without one. Raises EmulatorError where that fails, or does nothing
        for `PATIENCE` seconds; the emulator is of no use then."""
        for _ in range(PARTS):
            try:
                value, failure = self._answers.get(timeout=PATIENCE / PARTS)
            except Empty:
                continue
            if failure is not None:
                raise EmulatorError(f"The emulator of {self._game} failed ({failure}); {GO_ON}.")
            return value
        raise EmulatorError(
            f"The emulator of {self._game} has not answered for {PATIENCE:g} seconds; {GO_ON}."
        )

    def close(self) -> None:
        """End it, or leave it behind where it does not end; of no effect a second time."""
        if self._open:
            self._open = False
            self._tasks.put(None)
            self._thread.join(TO_CLOSE)
            if self._thread.is_alive():
                _expect_complaints()


def _serve(
    make: Callable[[], Any],
    tasks: "SimpleQueue[Callable[[Any], Any] | None]",
    answers: "SimpleQueue[tuple[Any, str | None]]",
) -> None:
    """The environment is this thread's alone: it dies, or hangs, in here."""
    try:
        env = make()
    except Exception as error:
        answers.put((None, _cause(error)))
        return
    for task in iter(tasks.get, None):
        try:
            answers.put((task(env), None))
        except Exception as error:
            answers.put((None, _cause(error)))
    with suppress(Exception):  # what has died has been told of
        env.close()


def _cause(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


@cache
def _expect_complaints() -> None:
    """What hangs cannot be freed, of which ale-py's binding would tell at length as Python ends."""
    atexit.register(lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 2))
