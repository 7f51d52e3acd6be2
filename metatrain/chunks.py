"""Lifetimes in chunks, so that the backward pass of all of them need not fit in memory at once."""

from typing import Any

import jax

from metatrain.cohort import Cohort
from metatrain.devices import UnevenLifetimesError
from metatrain.presets import MetaTrainConfig


def possible_chunks(cohorts: tuple[Cohort, ...], num_devices: int) -> list[int]:
    """Numbers of equal chunks that a device's share of every cohort can be cut into, rising."""
    shares = [cohort.num_lifetimes // num_devices for cohort in cohorts]
    return [n for n in range(1, min(shares) + 1) if all(share % n == 0 for share in shares)]


def chunks_asked_for(config: MetaTrainConfig, cohorts: tuple[Cohort, ...], num_devices: int) -> int:
    """The smallest number with chunks of at most `lifetimes_per_chunk`; 1 where that is None."""
    if config.lifetimes_per_chunk is None:
        return 1
    share = sum(cohort.num_lifetimes for cohort in cohorts) // num_devices
    possible = possible_chunks(cohorts, num_devices)
    enough = [n for n in possible if share // n <= config.lifetimes_per_chunk]
    if not enough:
        raise UnevenLifetimesError(
            f"{share} lifetimes cannot be cut into equal chunks of at most "
            f"{config.lifetimes_per_chunk} with some of each environment; the smallest that "
            f"--lifetimes-per-chunk can be here is {share // possible[-1]}."
        )
    return enough[0]


def into_chunks(tree: Any, num_chunks: int) -> Any:
    """[L, ...] to [num_chunks, L / num_chunks, ...]."""
    return jax.tree.map(lambda x: x.reshape((num_chunks, -1, *x.shape[1:])), tree)


def out_of_chunks(tree: Any) -> Any:
    """And back."""
    return jax.tree.map(lambda x: x.reshape((-1, *x.shape[2:])), tree)
