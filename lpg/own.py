"""What a user names by import path, as package.module:Name, and what is built of it."""

import hashlib
import importlib
import re
import sys
from pathlib import Path
from typing import Any


def is_import_path(name: str) -> bool:
    """Whether `name` is package.module:Name, and not a file's name that holds a colon."""
    module, colon, attribute = name.partition(":")
    return bool(colon) and attribute.isidentifier() and re.fullmatch(r"[\w.-]+", module) is not None


def imported(
    name: str,
    what: str,
    needed: str,
    attributes: tuple[str, ...] = (),
    methods: tuple[str, ...] = (),
) -> Any:
    """An instance of the class, or what the function returns, at `name`; the working directory
    counts as well.

    Args:
        attributes: that it must have.
        methods: that must be a class's before it is called, where a file and not the user names it.

    Raises ValueError, saying that `name` cannot be taken for `what` and what is `needed`.
    """
    module_name, _, attribute = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module_name), attribute)
        if methods and not isinstance(found, type):
            raise TypeError("it is no class")
        for each in methods:
            getattr(found, each)
        made = found()
        for each in attributes:
            getattr(made, each)
    except Exception as error:
        raise ValueError(
            f"Cannot take {name!r} for {what} ({type(error).__name__}: {error}); it must name "
            f"{needed}, as package.module:Name."
        ) from error
    return made


def source_digest(name: str) -> str:
    """SHA-256 of the file of the module that `name` is in, which tells one version of a user's code
    from the next; nothing where it has no file."""
    module = sys.modules.get(name.partition(":")[0])
    file = getattr(module, "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
