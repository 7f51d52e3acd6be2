"""`metrics.jsonl` of a run that is taken up again: one JSON object a line."""

import json
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
