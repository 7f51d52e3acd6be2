"""Which learned rules there are: one line a kind."""

from typing import Any

from lpg.own import is_import_path
from lpg.rules.lpg import LPG
from lpg.rules.lpg_v import LPGV
from lpg.rules.own import OwnRule

LearnedRule = LPG | LPGV | OwnRule  # a new learned rule is one more class here
KINDS: dict[str, type[LPG] | type[LPGV]] = {cls.kind: cls for cls in (LPG, LPGV)}


def rule_class(kind: Any) -> type[LPG] | type[LPGV]:
    """The class of learned rules that calls itself `kind`; ValueError for an unknown one."""
    if kind not in KINDS:
        raise ValueError(
            f"Unknown kind of rule {kind!r}; known are {', '.join(KINDS)}, and your own as "
            "package.module:Name."
        )
    return KINDS[kind]


def own_rule(kind: Any) -> OwnRule | None:
    """The user's rule where `kind` is its import path; None for other kinds."""
    return OwnRule(kind) if isinstance(kind, str) and is_import_path(kind) else None


def make_rule(kind: Any, fields: dict[str, Any]) -> LearnedRule:
    """The rule of that kind, which may be a user's own, with these fields."""
    return own_rule(kind) or rule_class(kind)(**fields)


def rule_from_architecture(architecture: dict[str, Any]) -> LearnedRule:
    """The rule that a rule file's header describes; ValueError where it is not one of ours."""
    kind = architecture.get("rule")
    return own_rule(kind) or rule_class(kind).from_architecture(architecture)
