"""Undiscounted returns per episode that normalise final returns, one pair an environment."""

from typing import NamedTuple


class ReferenceReturn(NamedTuple):
    random: float  # uniform policy
    best: float
    how: str  # where `best` comes from


_NAMES = "dense sparse long_horizon longer_horizon long_dense rand_dense rand_long_horizon rand_small rand_sparse rand_very_dense short short_noisy long long_noisy distractor"
REFERENCE_RETURNS = {n: ReferenceReturn(0.0, 1.0, "placeholder") for n in _NAMES.split()}
