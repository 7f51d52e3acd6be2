"""Lifetimes in chunks, so that the backward pass of all of them need not fit in memory at once."""

from typing import Any

import jax

from metatrain.cohort import Cohort, all_tables
from metatrain.config import MetaTrainConfig
from metatrain.devices.mesh import UnevenLifetimesError

# Environments of tabular agents that a CPU core takes at once: more fit its caches less well, fewer
# make products too small (docs/performance.md). Networks' products only lose by being cut.
CPU_ROWS = 640


def possible_chunks(cohorts: tuple[Cohort, ...], num_devices: int) -> list[int]:
    """Numbers of equal chunks that a device's share of every cohort can be cut into, rising."""
    shares = [cohort.num_lifetimes // num_devices for cohort in cohorts]
    return [n for n in range(1, min(shares) + 1) if all(share % n == 0 for share in shares)]


def choose_chunks(
    config: MetaTrainConfig, cohorts: tuple[Cohort, ...], num_devices: int, platform: str
) -> int:
    """The smallest number with chunks of at most `lifetimes_per_chunk`.

    Where that is None: 1, but for tables on a CPU as many as make chunks fit for its caches.
    """
    share = sum(cohort.num_lifetimes for cohort in cohorts) // num_devices
    possible = possible_chunks(cohorts, num_devices)
    asked = config.lifetimes_per_chunk
    if asked is None and not (all_tables(cohorts) and platform == "cpu"):
        return 1
    most = CPU_ROWS // config.num_envs if asked is None else asked
    enough = [n for n in possible if share // n <= most]
    if not enough and asked is None:
        return possible[-1]
    if not enough:
        raise UnevenLifetimesError(
            f"{share} lifetimes cannot be cut into equal chunks of at most "
            f"{asked} with some of each environment; the smallest that "
            f"--lifetimes-per-chunk can be here is {share // possible[-1]}."
        )
    return enough[0]


def into_chunks(tree: Any, num_chunks: int) -> Any:
    """[L, ...] to [num_chunks, L / num_chunks, ...]."""
    return jax.tree.map(lambda x: x.reshape((num_chunks, -1, *x.shape[1:])), tree)


def out_of_chunks(tree: Any) -> Any:
    """And back."""
    return jax.tree.map(lambda x: x.reshape((-1, *x.shape[2:])), tree)
