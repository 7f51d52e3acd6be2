"""command.json: what was run, with what, so that a report can say how to repeat it."""

import importlib.metadata
import json
import platform
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lpg.files.storage import RuleFile, digest, write_atomically

PACKAGES = ("lpg-engine", "jax", "jaxlib", "gymnax", "ale-py")


def write_record(run_dir: Path, command: list[str], rule_name: str, rule: RuleFile | None) -> None:
    """What `command`, its words, ran with; `rule` is None for an algorithm without a file. Raises
    OSError where the directory refuses."""
    record = {
        "command": shlex.join(command),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES if _version(name)},
        "device": jax.devices()[0].device_kind,
        "rule": {"name": rule_name, **({} if rule is None else _described(rule))},
    }
    write_atomically(run_dir / "command.json", (json.dumps(record, indent=1) + "\n").encode())


def _described(rule: RuleFile) -> dict[str, Any]:
    return {
        "parameters": sum(np.size(x) for x in jax.tree.leaves(rule.params)),
        "sha256": digest(rule),
        "architecture": rule.architecture,
        "provenance": rule.provenance,
    }


def read_record(run_dir: Path) -> dict[str, Any]:
    """An empty record where there is none; raises ValueError where it is not JSON."""
    path = run_dir / "command.json"
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is damaged; delete it or run metatest again.") from error


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
