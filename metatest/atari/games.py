"""The 57 games: names, and the scores of a random policy and of a human."""

import csv
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources

ALL = "atari57"


@dataclass(frozen=True)
class Game:
    """No-op starts, episodes of at most 108,000 frames (Wang et al. 2016)."""

    name: str  # snake_case, as ALE's vector environment calls it
    random: float
    human: float
    minimal_actions: int

    def human_normalised(self, score: float) -> float:
        """0 for the random policy, 1 for the human."""
        return (score - self.random) / (self.human - self.random)


@cache
def games() -> dict[str, Game]:
    """All 57 by name, in alphabetical order."""
    text = (resources.files("metatest.atari") / "atari57_scores.csv").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {
        row["game"]: Game(
            row["game"], float(row["random"]), float(row["human"]), int(row["minimal_actions"])
        )
        for row in csv.DictReader(lines)
    }


def resolve(names: tuple[str, ...]) -> tuple[Game, ...]:
    """Games by name in any common spelling (Breakout, yars_revenge, YarsRevenge), or `atari57`.

    Raises ValueError for an unknown one, naming its closest matches.
    """
    found: dict[str, Game] = {}
    by_letters = {_letters(name): game for name, game in games().items()}
    for name in names:
        if name == ALL:
            found.update(games())
            continue
        game = by_letters.get(_letters(name))
        if game is None:
            close = get_close_matches(_letters(name), by_letters, n=3, cutoff=0.5)
            hint = " or ".join(by_letters[c].name for c in close) or f"any of {', '.join(games())}"
            raise ValueError(f"Unknown Atari game {name!r}; did you mean {hint}?")
        found[game.name] = game
    return tuple(found.values())


def _letters(name: str) -> str:
    """'ALE/YarsRevenge-v5' and 'yars_revenge' to 'yarsrevenge'."""
    name = name.removeprefix("ALE/")
    name = name.rsplit("-v", 1)[0] if "-v" in name else name
    return "".join(c for c in name.lower() if c.isalnum())
