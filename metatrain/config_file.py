"""A config from the config.json of a run."""

import json
from pathlib import Path
from typing import Any

from lpg.rules.lpg import LPG
from lpg.rules.registry import rule_class
from metatrain.config import MetaTrainConfig


def read_config(path: Path) -> MetaTrainConfig:
    """What `MetaTrainConfig.as_json` made; fields that are absent are as by default.

    Raises ValueError for a file that cannot be read or holds anything else.
    """
    try:
        plain = json.loads(path.read_text())
        if not isinstance(plain, dict):
            raise TypeError("it holds no JSON object")
        return _config(plain)
    except OSError as error:
        raise ValueError(f"Cannot read {path} ({error.strerror}).") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is not the config.json of a run: {error}") from error


def with_kind(plain: dict[str, Any]) -> dict[str, Any]:
    """Configs from before there were kinds of rules are LPG's."""
    return {**plain, "rule": {"rule": LPG.kind, **plain.get("rule", {})}}


def _config(plain: dict[str, Any]) -> MetaTrainConfig:
    rule = with_kind(plain)["rule"]
    kind = rule_class(rule.pop("rule"))
    given = {name: _frozen(x) for name, x in plain.items() if name != "rule"}
    return MetaTrainConfig(**given, rule=kind(**{name: _frozen(x) for name, x in rule.items()}))


def _frozen(value: Any) -> Any:
    """Lists, which is what JSON has, as tuples."""
    return tuple(value) if isinstance(value, list) else value
