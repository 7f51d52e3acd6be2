"""failures.jsonl: evaluations of the last command that have no result, and why."""

import json
from pathlib import Path
from typing import NamedTuple

FILE = "failures.jsonl"


class Failure(NamedTuple):
    """An algorithm on an environment."""

    env: str
    algorithm: str
    why: str  # a sentence


def add_failure(run_dir: Path, failure: Failure) -> None:
    """One JSON object a failure."""
    with (run_dir / FILE).open("a") as file:
        file.write(json.dumps(failure._asdict()) + "\n")


def forget_failures(run_dir: Path) -> None:
    """Those of an earlier command, which is tried again."""
    (run_dir / FILE).unlink(missing_ok=True)


def load_failures(run_dir: Path) -> list[Failure]:
    """None where nothing failed; raises ValueError where the file is damaged."""
    path = run_dir / FILE
    if not path.exists():
        return []
    try:
        return [Failure(**json.loads(line)) for line in path.read_text().splitlines()]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged; delete it or run metatest again.") from error
