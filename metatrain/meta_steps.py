"""Meta-steps as one program, compiled once for all who call it."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp


class MetaSteps:
    """`run(state, n)`: the state n meta-steps on, and their sums of metrics.

    The state passed in is given away and must not be used again.

    Args:
        function: of a state and the number of meta-steps, jitted.
        like: makes the state's shapes, dtypes and places.
        options: of the compiler.
    """

    def __init__(self, function: Any, like: Callable[[], Any], options: dict[str, Any]):
        self.function, self._like, self._options = function, like, options

    def __call__(self, state: Any, num_meta_steps: int | jax.Array) -> Any:
        """Compiles at the first call."""
        return self.compiled(state, jnp.int32(num_meta_steps))

    @cached_property
    def compiled(self) -> jax.stages.Compiled:
        """The program, which says what memory it needs."""
        return self.traced.lower().compile(self._options)

    @cached_property
    def traced(self) -> jax.stages.Traced:
        """The program as it was written, which nothing has been compiled of."""
        return self.function.trace(self._like(), jnp.int32(1))

    def lower(self, *arguments: Any) -> jax.stages.Lowered:
        """As jitted functions have it; for platforms that are not here, too."""
        return self.function.lower(*arguments)
