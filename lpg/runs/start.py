"""What a command does before its own imports, which take seconds and a device."""

import os
import sys

from lpg.runs import signals, streams


def start(command: str, sets: tuple[str, ...] = ()) -> None:
    """Streams, signals and JAX's switches, in this order; exits with 2 and a sentence where a
    switch has a value that JAX or this program cannot take.

    Args:
        sets: switches that the command sets itself, whatever they are.
    """
    streams.shield()
    signals.obey(command)
    try:
        import jax  # reads its switches

        from lpg.runs.settings import refuse_settings

        others = {name: x for name, x in jax.config.values.items() if name not in sets}
        refuse_settings(others, os.environ)
    except ValueError as error:
        sys.exit(streams.fail(command, error, 2))


def take_device(command: str, shared: bool = False) -> None:
    """Exits with 2 and a sentence where there is none of those asked for.

    Args:
        shared: take a GPU's memory as it is needed, here and in processes to come; else the first
            one would take three quarters of it.
    """
    if shared:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    from lpg.runs.settings import refuse_platforms

    try:
        refuse_platforms()
    except ValueError as error:
        sys.exit(streams.fail(command, error, 2))
