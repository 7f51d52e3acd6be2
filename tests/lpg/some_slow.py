"""Cases of a parametrised test of which some are for `-m slow` only."""

from collections.abc import Iterable
from typing import Any

import pytest


def some_slow(cases: Iterable[Any], slow: Iterable[Any]) -> list[Any]:
    """All `cases` in their order; those in `slow` carry the marker, whatever is new does not."""
    slow = list(slow)
    return [pytest.param(x, marks=pytest.mark.slow) if x in slow else x for x in cases]
