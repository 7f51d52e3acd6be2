"""What commands share: progress and the compilation cache."""

import os
from pathlib import Path

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

    JAX_COMPILATION_CACHE_DIR chooses the place; set to nothing it turns the cache off. A user
    without a home directory has none.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        try:
            base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        except RuntimeError:  # as in a container, by a number that is no user's
            return
        jax.config.update("jax_compilation_cache_dir", str(base / "lpg-engine" / "jax"))
