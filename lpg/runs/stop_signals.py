"""Ctrl-C and SIGTERM as a wish to stop, which a training loop grants where it can save."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_signals(announcement: str | None = None) -> Iterator[list[int]]:
    """A list that fills when Ctrl-C or SIGTERM arrives; a second one stops at once.

    Args:
        announcement: printed to stderr when the first one arrives.
    """
    received: list[int] = []

    def handle(number: int, frame: Any) -> None:
        del frame
        if received:
            raise KeyboardInterrupt
        received.append(number)
        if announcement is not None:
            print(announcement, file=sys.stderr)

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(s, handle) for s in signals]
    try:
        yield received
    finally:
        for s, handler in zip(signals, before, strict=True):
            signal.signal(s, handler)
