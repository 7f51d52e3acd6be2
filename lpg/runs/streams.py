"""What a command says. The terminal is a spectator: whatever becomes of it, the work goes on."""

import contextlib
import io
import os
import select
import sys
from typing import Any

PATIENCE = 1.0  # seconds that a stream which takes nothing is waited for, once


def fail(command: str, error: Exception | str, code: int) -> int:
    """The exit code, after one sentence on stderr that begins with the command's name."""
    print(f"{command}: {error}", file=sys.stderr)
    return code


def shield() -> None:
    """From here on stdout and stderr take every text, without an error and without delay.

    What a stream cannot show, because it is closed, full, stopped or of another encoding, is left
    out. To be called first: a descriptor that is closed would be given to the next file opened.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # the lowest number that is free
        pass
    os.close(descriptor)
    sys.stdout = _shielded(sys.stdout, 1)
    sys.stderr = _shielded(sys.stderr, 2)


def _shielded(stream: Any, descriptor: int) -> io.TextIOWrapper:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        stream.flush()
    raw = _Spectator(descriptor, "w", closefd=False)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    lines = descriptor == 2 or raw.isatty()
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="replace", line_buffering=lines
    )


class _Spectator(io.FileIO):
    """A file that says of all it is given that it was written."""

    _gone = False
    _stalled = False

    def write(self, data: Any, /) -> int:
        size = memoryview(data).nbytes
        if self._gone or not self._takes():
            return size
        try:  # a pipe that takes something takes this much without delay
            return super().write(memoryview(data)[: select.PIPE_BUF]) or size
        except OSError:
            self._gone = True
            return size

    def _takes(self) -> bool:
        """Whether it takes more now; a pager that is not scrolled and a stopped terminal do not."""
        try:
            _, ready, _ = select.select([], [self], [], 0 if self._stalled else PATIENCE)
        except (OSError, ValueError):  # of no such kind, or too many files are open
            return True
        self._stalled = not ready
        return bool(ready)
