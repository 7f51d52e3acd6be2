"""Uniform draws without replacement from a grid world's free cells, cheap under `vmap`."""

from collections.abc import Iterable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

NO_RANK = 2**30  # of an object that is not there


class FreeCells(NamedTuple):
    """The cells that are no walls, in order; a cell's rank is its place among them.

    It depends on the instance alone, and draws without replacement go by rank: under `vmap` over
    parallel environments no work grows with the number of cells times the number of draws.
    """

    cumulative: Array  # i32 [cells], free cells up to and including each

    def rank(self, cell: Array) -> Array:
        """The place of a free cell among the free ones, from 0."""
        return self.cumulative[cell] - 1

    def cell(self, rank: Array) -> Array:
        """The inverse of `rank`: one comparison with every cell, and no search."""
        return jnp.sum(self.cumulative <= rank, dtype=jnp.int32)

    def draw(self, uniform: Array, taken: tuple[Array, ...] = ()) -> Array:
        """The rank of a uniformly drawn free cell, from one uniform in [0, 1).

        `taken` holds distinct ranks, rising, that are not to be drawn; NO_RANK stands for none.
        """
        count = self.cumulative[-1] - _count(rank < NO_RANK for rank in taken)
        drawn = jnp.floor(uniform * count.astype(jnp.float32)).astype(jnp.int32)
        rank = jnp.minimum(drawn, count - 1)  # uniform * count can round up to count
        # The drawn-th of the ranks not taken: each taken one at or below it moves it up by one.
        for other in taken:
            rank += (other <= rank).astype(jnp.int32)
        return rank


def free_cells(wall: Array) -> FreeCells:
    """Of `wall` bool [cells]."""
    return FreeCells(jnp.cumsum(~wall, dtype=jnp.int32))


def insert(taken: tuple[Array, ...], rank: Array) -> tuple[Array, ...]:
    """`taken`, rising, with one rank more in its place."""
    inserted = []
    for other in taken:
        inserted.append(jnp.minimum(other, rank))
        rank = jnp.maximum(other, rank)
    return (*inserted, rank)


def _count(conditions: Iterable[Array]) -> Array:
    return sum((c.astype(jnp.int32) for c in conditions), start=jnp.int32(0))


def distinct_cells(free: FreeCells, uniforms: Array, count: int) -> list[Array]:
    """Cells drawn one after the other, each from the free ones that are left."""
    taken, ranks = (), []
    for i in range(count):
        ranks.append(free.draw(uniforms[i], taken))
        taken = insert(taken, ranks[-1])
    return [free.cell(rank) for rank in ranks]
