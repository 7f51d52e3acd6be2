"""A config from the config.json of a run."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from envs.suite import SuiteRow
from lpg.rules.lpg import LPG
from lpg.rules.registry import KINDS, make_rule
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


# What was done before there were these fields, where that is not today's default.
BEFORE = {"unearned_cost": 0.0, "reward_free_share": 0.0, "max_share": None, "average_decay": 0.0}
RULE_BEFORE = {LPG.kind: {"prediction_input": "y"}}


def upgraded(plain: dict[str, Any]) -> dict[str, Any]:
    """The whole config of a run whose version had fewer fields: one that is absent is as it was
    before there was such a field. Configs from before there were kinds of rules are LPG's."""
    given = plain.get("rule", {})
    kind = given.get("rule", LPG.kind)
    whole = json.loads(json.dumps(asdict(KINDS[kind]()))) if kind in KINDS else {}
    rule = whole | RULE_BEFORE.get(kind, {}) | given | {"rule": kind}
    return MetaTrainConfig().as_json() | BEFORE | plain | {"rule": rule}


def _config(plain: dict[str, Any]) -> MetaTrainConfig:
    rule = {"rule": LPG.kind, **plain.get("rule", {})}
    made = make_rule(rule.pop("rule"), from_json(rule))
    rows = tuple(SuiteRow(**from_json(row)) for row in plain.get("rows", ()))
    given = from_json({name: x for name, x in plain.items() if name not in ("rule", "rows")})
    return MetaTrainConfig(**given, rows=rows, rule=made)


def from_json(plain: dict[str, Any]) -> dict[str, Any]:
    """Lists, which is what JSON has, as tuples."""
    return {name: tuple(x) if isinstance(x, list) else x for name, x in plain.items()}
