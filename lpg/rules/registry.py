"""Which learned rules there are: one line a kind."""

from typing import Any

from lpg.rules.lpg import LPG
from lpg.rules.lpg_v import LPGV

LearnedRule = LPG | LPGV  # a new learned rule is one more class here
KINDS: dict[str, type[LPG] | type[LPGV]] = {cls.kind: cls for cls in (LPG, LPGV)}


def rule_class(kind: Any) -> type[LPG] | type[LPGV]:
    """The class of learned rules that calls itself `kind`; ValueError for an unknown one."""
    if kind not in KINDS:
        raise ValueError(f"Unknown kind of rule {kind!r}; known are {', '.join(KINDS)}.")
    return KINDS[kind]


def rule_from_architecture(architecture: dict[str, Any]) -> LearnedRule:
    """The rule that a rule file's header describes; ValueError where it is not one of ours."""
    return rule_class(architecture.get("rule")).from_architecture(architecture)
