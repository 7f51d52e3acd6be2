"""Taking a run up again: by the same options, with a log that ends where its checkpoint does."""

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from lpg.files.storage import write_atomically


def forget_after(log: Path, counter: str, last: int) -> list[dict[str, Any]]:
    """Cut the log to the lines that a checkpoint covers, and return them.

    What a killed run wrote beyond its checkpoint, a torn last line included, is done again.

    Args:
        counter: the field that counts, such as meta_step.
        last: its value in the checkpoint.
    """
    kept = []
    for text in log.read_text().splitlines() if log.exists() else []:
        try:
            line = json.loads(text)
        except ValueError:
            break  # torn
        if line[counter] > last:
            break
        kept.append(line)
    write_atomically(log, "".join(json.dumps(line) + "\n" for line in kept).encode())
    return kept


def keep_options(
    path: Path,
    options: dict[str, Any],
    free: Collection[str] = (),
    upgrade: Callable[[dict[str, Any]], dict[str, Any]] = lambda before: before,
) -> None:
    """Write the options to `path`, unless a run was made there with others.

    Args and errors as `refuse_other_options` has them; OSError where it cannot be written.
    """
    refuse_other_options(path, options, free, upgrade)
    write_options(path, options)


def write_options(path: Path, options: dict[str, Any]) -> None:
    """Over what is there, which nobody looks at; raises OSError where the disk refuses."""
    write_atomically(path, (json.dumps(options, indent=2) + "\n").encode())


def refuse_other_options(
    path: Path,
    options: dict[str, Any],
    free: Collection[str] = (),
    upgrade: Callable[[dict[str, Any]], dict[str, Any]] = lambda before: before,
) -> None:
    """Nothing is written: a run that would be refused later is refused before others begin.

    Args:
        free: options that may differ when a run is taken up again, as `differing` names them.
        upgrade: what options of an older version come to in this one.

    Raises ValueError where the file is damaged or holds other options.
    """
    if not path.exists():
        return
    try:
        different = differing(upgrade(json.loads(path.read_text())), options, free)
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path} is not valid JSON of options, so this run cannot be taken up; restore it or "
            "choose another --run-dir."
        ) from error
    if different:
        raise ValueError(
            f"The run in {path.parent} was made with other options: {different}; give the same "
            "values or choose another --run-dir."
        )


def differing(before: dict[str, Any], now: dict[str, Any], free: Collection[str] = ()) -> str:
    """Options that differ, as "name (before -> now)"; nothing where none does. Those within others
    have their names too, as in rule.hidden_size, in `free` as well."""
    before, now = flat(before), flat(json.loads(json.dumps(now)))  # tuples are lists in a file
    names = sorted((before.keys() | now.keys()) - set(free))
    different = [name for name in names if before.get(name) != now.get(name)]
    return ", ".join(f"{name} ({before.get(name)} -> {now.get(name)})" for name in different)


def flat(options: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options within others by dotted names."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        inner = flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {}
        found |= inner or {prefix + name: value}
    return found
