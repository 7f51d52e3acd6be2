"""Seeds that JAX takes whole: from others it cuts what goes beyond 32 bits."""

LIMIT = 2**32


def refuse_seed(seed: int) -> None:
    """ValueError for a seed of which only a part would count."""
    if not 0 <= seed < LIMIT:
        raise ValueError(f"seed must lie in [0, 2^32), got {seed}.")
