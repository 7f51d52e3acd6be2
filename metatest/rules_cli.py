"""The command `metatest rules`: the rules in the package, and their cards."""

import re
from dataclasses import dataclass
from importlib import resources
from typing import Annotated

import jax
import numpy as np
import tyro
from rich.table import Table

from lpg.files.storage import load_rule, shipped_rules
from lpg.runs.streams import fail
from lpg.runs.tables import print_table


@dataclass(frozen=True)
class RulesCommand:
    """List the shipped rules, or print the card of one."""

    name: Annotated[str | None, tyro.conf.Positional] = None
    """Of the rule whose card is printed."""


def main(arguments: list[str]) -> int:
    """The exit code: 0 done, 2 a rule that is not shipped or has no card."""
    command = tyro.cli(RulesCommand, args=arguments, prog="metatest rules")
    if command.name is None:
        print_table(_listed())
        return 0
    text = card(command.name)
    if text is None:
        known = ", ".join(shipped_rules())
        sentence = f"No rule named {command.name!r} is shipped with a card; known are {known}."
        return fail("metatest rules", sentence, 2)
    print(text, end="")
    return 0


def card(name: str) -> str | None:
    """The card of a shipped rule; None where there is none."""
    path = resources.files("lpg.shipped") / f"{name}.md"
    return path.read_text("utf-8") if name in shipped_rules() and path.is_file() else None


def summary(text: str) -> str:
    """A card's first sentence."""
    paragraphs = [p for p in text.split("\n\n") if p.strip() and not p.lstrip().startswith("#")]
    return re.split(r"(?<=\.)\s", " ".join(paragraphs[0].split()))[0] if paragraphs else ""


def _listed() -> Table:
    table = Table(title="Shipped rules")
    table.add_column("name", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("summary", overflow="fold")
    for name in shipped_rules():
        parameters = sum(np.size(x) for x in jax.tree.leaves(load_rule(name).params))
        table.add_row(name, f"{parameters:,}", summary(card(name) or ""))
    return table
