"""What commands share: errors in one sentence, progress, the compilation cache, signals to stop."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column


def fail(command: str, error: Exception | str, code: int) -> int:
    """The exit code, after one sentence on stderr that begins with the command's name."""
    print(f"{command}: {error}", file=sys.stderr)
    return code


def progress(
    console: Console, *done: ProgressColumn, description_last: bool = False, live: bool = True
) -> Progress:
    """A bar with time elapsed and left.

    Args:
        done: how far a task has come; a percentage where not given.
        description_last: after the times, where it is long and changes.
        live: False shows nothing; for consoles that are no terminal and get lines instead.
    """
    # Text, not markup, and whole in a narrow terminal.
    description = TextColumn(
        "{task.description}", markup=False, table_column=Column(overflow="fold")
    )
    times = TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()
    columns = (BarColumn(20), *(done or (TextColumn("{task.percentage:.0f}%"),)), *times)
    columns = (*columns, description) if description_last else (description, *columns)
    return Progress(*columns, console=console, disable=not live)


def enable_compilation_cache() -> None:
    """Keep compiled programs in the user's cache directory, unless JAX was told another place.

    JAX_COMPILATION_CACHE_DIR chooses the place; set to nothing it turns the cache off.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(base / "lpg-engine" / "jax"))


class Stopped(Exception):
    """A signal asked to stop; everything is saved."""


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
