"""JAX's persistent compilation cache, so that the second start of a command takes seconds."""

import os
from pathlib import Path

import jax


def enable_compilation_cache() -> None:
    """Keep compiled programs in the user's cache directory, unless JAX was told another place.

    JAX_COMPILATION_CACHE_DIR chooses the place; set to nothing it turns the cache off.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(base / "lpg-engine" / "jax"))
