"""Words that an option may be."""

from collections.abc import Iterable


def refuse_other(name: str, given: str, known: Iterable[str]) -> None:
    """ValueError where the option called `name` is `given` as none of the `known` words."""
    words = tuple(known)
    if given not in words:
        raise ValueError(f"{name} must be one of {', '.join(words)}, got {given!r}.")
