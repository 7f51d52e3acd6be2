"""One sentence where an array from outside has another shape than is wanted.

Shapes are static: what is checked here costs a compiled program nothing.
"""

from typing import Any

import jax.numpy as jnp


def check_shape(name: str, array: Any, wanted: tuple[Any, ...], axes: str) -> None:
    """Raises ValueError unless `array` has the shape wanted.

    Args:
        name: of the argument, as its caller knows it.
        wanted: sizes; a letter stands for any size.
        axes: what they are.
    """
    seen = jnp.shape(array)
    same = [isinstance(size, str) or size == own for size, own in zip(wanted, seen, strict=False)]
    if len(seen) != len(wanted) or not all(same):
        raise ValueError(f"{name} has shape {_shown(seen)}; wanted is {_shown(wanted)}, {axes}.")


def _shown(shape: tuple[Any, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"
