"""Undiscounted returns per episode that normalise final returns, one pair an environment.

Written by scripts/compute_reference_returns.py; do not edit by hand.
"""

from typing import NamedTuple


class ReferenceReturn(NamedTuple):
    """Undiscounted returns per episode of an environment's instances, on average."""

    random: float  # uniform policy
    best: float
    how: str  # where `best` comes from


REFERENCE_RETURNS = {
    "dense": ReferenceReturn(
        random=-0.2539,
        best=44.6789,
        how="dynamic programming, 16 instances; 9 actions 44.527, 18 actions 44.831",
    ),
    "sparse": ReferenceReturn(
        random=-0.0322,
        best=1.0,
        how="dynamic programming, 16 instances; 9 actions 1.000, 18 actions 1.000",
    ),
    "long_horizon": ReferenceReturn(
        random=-0.4199,
        best=21.313,
        how="dynamic programming, 16 instances; 9 actions 21.308, 18 actions 21.318",
    ),
    "longer_horizon": ReferenceReturn(
        random=-0.75,
        best=9.8396,
        how="dynamic programming, 16 instances; 9 actions 9.840, 18 actions 9.840",
    ),
    "long_dense": ReferenceReturn(
        random=12.3535,
        best=42.9937,
        how="dynamic programming, 16 instances; 9 actions 42.984, 18 actions 43.003",
    ),
    "rand_dense": ReferenceReturn(
        random=-0.0918,
        best=41.918,
        how="best measured, by a scripted greedy agent; 9 actions 42.160, 18 actions 41.676",
    ),
    "rand_long_horizon": ReferenceReturn(
        random=-0.2666,
        best=21.1826,
        how="best measured, by a scripted greedy agent; 9 actions 21.436, 18 actions 20.930",
    ),
    "rand_small": ReferenceReturn(
        random=-0.0957,
        best=45.9238,
        how="best measured, by a scripted greedy agent; 9 actions 46.104, 18 actions 45.744",
    ),
    "rand_sparse": ReferenceReturn(
        random=-0.2383,
        best=1.0,
        how="best measured, by a scripted greedy agent; 9 actions 1.000, 18 actions 1.000",
    ),
    "rand_very_dense": ReferenceReturn(
        random=5.1396,
        best=363.1436,
        how="best measured, by a scripted greedy agent; 9 actions 353.482, 18 actions 372.805",
    ),
    "short": ReferenceReturn(
        random=0.0,
        best=1.0,
        how="exact: the outcome is +1 or -1, and noise has mean 0",
    ),
    "short_noisy": ReferenceReturn(
        random=0.0,
        best=1.0,
        how="exact: the outcome is +1 or -1, and noise has mean 0",
    ),
    "long": ReferenceReturn(
        random=0.0,
        best=1.0,
        how="exact: the outcome is +1 or -1, and noise has mean 0",
    ),
    "long_noisy": ReferenceReturn(
        random=0.0,
        best=1.0,
        how="exact: the outcome is +1 or -1, and noise has mean 0",
    ),
    "distractor": ReferenceReturn(
        random=0.0,
        best=1.0,
        how="exact: the outcome is +1 or -1, and noise has mean 0",
    ),
}
