"""Strictness and speed for every test: virtual devices, checked shapes, a compilation cache."""

import gc
import os
from functools import cache
from importlib.metadata import version
from pathlib import Path

# Compiling takes most of the time here, so machine code is left as it first comes, and loops too.
_LOOPS = "simplify-while-loops,while-loop-invariant-code-motion,while-loop-constant-sinking"
_FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
_FLAGS += f" --xla_disable_hlo_passes={_LOOPS}"
if version("jaxlib").startswith("0.10."):  # later ones have no other way, and refuse the flag
    _FLAGS += " --xla_cpu_use_fusion_emitters=false"  # compiles in 0.6 of the time
os.environ.setdefault("XLA_FLAGS", _FLAGS)
_CACHE = Path(__file__).parent.parent / ".cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
# Where in our code an instruction comes from costs a quarter of tracing, and compiling too.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
os.environ.setdefault("JAX_INCLUDE_FULL_TRACEBACKS_IN_LOCATIONS", "false")
# Spreading a program over devices by Shardy does, too; tests of that ask for its fixture.
os.environ.setdefault("JAX_USE_SHARDY_PARTITIONER", "false")

import jax  # noqa: E402 - reads the environment set above
import jaxtyping  # noqa: E402
import pytest  # noqa: E402
from jax._src.interpreters import mlir  # noqa: E402

# Thousands of programs here are one operation, and an MLIR context takes longer to make than such
# an operation to compile: all share one.
mlir.make_ir_context = cache(mlir.make_ir_context)

# Shape annotations are checked at run time in the tests, so that none of them can lie.
jaxtyping.install_import_hook(["envs", "lpg", "metatrain", "metatest"], "beartype.beartype")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_collection_modifyitems(items):
    """Those that compile most come first, so that no core is idle at the end. Of these test_engine
    is last: test_devices has compiled its program by then."""
    items.sort(key=lambda x: ("tests/metatrain" not in x.nodeid, "test_engine.py" in x.nodeid))


def pytest_collection_finish():
    """What is imported by now stays; tracing makes so much that lives that it is not looked through
    as often as usual."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(scope="module")
def shardy():
    """Programs are spread over devices by what spreads users'."""
    jax.config.update("jax_use_shardy_partitioner", True)
    yield
    jax.config.update("jax_use_shardy_partitioner", False)
