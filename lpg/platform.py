"""Which platform a program is traced for: the one place that programs are chosen by.

Some computations have a program for CPUs and another for accelerators (the LSTM, convolutions, what
the backward pass keeps). Whoever compiles for particular devices says so by `for_platform`; nobody
asks JAX for its default backend, so that a program can be compiled for a device that is not there.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import jax

_chosen: ContextVar[str | None] = ContextVar("platform", default=None)


def platform() -> str:
    """What `for_platform` said, else the default device's: 'cpu', 'tpu', or a name of GPUs."""
    return _chosen.get() or jax.devices()[0].platform


@contextmanager
def for_platform(name: str) -> Iterator[None]:
    """What is traced within is meant for devices of this platform."""
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def traced_for(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, traced for this platform wherever it is called from."""

    @wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:
        with for_platform(name):
            return function(*args, **kwargs)

    return traced


def cores() -> int:
    """Of the CPU, that this process may use; in a container they can be fewer than there are."""
    known = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
