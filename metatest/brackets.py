"""What a name carries in brackets: stac[gamma,lam,num_envs=8]."""

import ast
from dataclasses import fields
from typing import Any


def within_brackets(name: str, text: str, options: Any) -> dict[str, Any]:
    """Options by `field=value`; bare words are what is `live`, and so is nothing at all.

    Args:
        name: as errors call the algorithm.
        options: a dataclass, whose values say what types there are.

    Raises ValueError for options that there are not, and values that are none of theirs.
    """
    known = {field.name for field in fields(options)}
    live, given = [], {}
    for part in filter(None, (x.strip() for x in text.split(","))):
        field, equals, value = part.partition("=")
        if not equals:
            live.append(part)
        elif field in known:
            try:
                given[field] = _value(value, getattr(options, field))
            except (ValueError, SyntaxError, TypeError) as error:
                raise ValueError(f"{name}: {field} cannot be {value!r}.") from error
        else:
            raise ValueError(f"{name} names {field!r}, which is no option; see metatest --help.")
    if live or not given:
        given["live"] = tuple(live)
    return given


def _value(text: str, current: Any) -> Any:
    """Of the type that the option has; ValueError where `text` is none of it."""
    if isinstance(current, str):
        return text
    value = ast.literal_eval(text)
    return float(value) if isinstance(current, float) else value
