"""The command `metatest list`: rules, algorithms, environments and games by name."""

from dataclasses import dataclass

import tyro
from rich.console import Console
from rich.padding import Padding

from envs.suite import SUITE
from envs.two_colours import TwoColours
from lpg.environment import NOT_AVAILABLE
from lpg.files.storage import shipped_rules
from metatest.algorithms import NAMES
from metatest.atari.games import games


@dataclass(frozen=True)
class ListCommand:
    """List what --rule, --baselines, --envs and --atari take."""


def main(arguments: list[str]) -> int:
    """The exit code, 0."""
    tyro.cli(ListCommand, args=arguments, prog="metatest list")
    console = Console()
    for title, names in everything().items():
        console.print(title, style="bold", highlight=False, markup=False)
        console.print(Padding(", ".join(names), (0, 0, 1, 2)), highlight=False, markup=False)
    return 0


def everything() -> dict[str, list[str]]:
    """Names by what they are."""
    import gymnax  # takes seconds

    elsewhere = (*SUITE, TwoColours().name, *NOT_AVAILABLE)
    known = [name for name in gymnax.registered_envs if name not in elsewhere]
    return {
        "Shipped rules": list(shipped_rules()),
        "Algorithms, which may carry options as in stac[gamma,lam]": list(NAMES),
        "Environments of Oh et al. 2020": list(SUITE),
        "Others": [TwoColours().name],
        "gymnax, of which those with continuous actions are refused": known,
        "Atari": list(games()),
        "Your own": ["package.module:Name, an environment's class or a learner"],
    }
