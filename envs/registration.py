"""The environments by name in gymnax's own registry."""

from functools import partial
from typing import Any

import gymnax

from envs.suite import SUITE, make
from envs.two_colours import TwoColours


def register() -> None:
    """Whatever `gymnax.make` does not know yet: the fifteen by `make`'s arguments, two_colours.

    A name that somebody else registered before stays theirs.
    """
    factories: dict[str, Any] = {name: partial(_environment, name) for name in SUITE}
    factories[TwoColours().name] = TwoColours
    for name, factory in factories.items():
        if name not in gymnax.registered_envs:
            gymnax.register(name, factory)


def _environment(name: str, **options: Any) -> Any:
    """gymnax takes the params from the environment's defaults, which are those of `make`."""
    env, _ = make(name, **options)
    return env
