"""What the kernel profile says of nested events and of a compiled program's text."""

import jax
import jax.numpy as jnp
import profile_kernels as script
import pytest


def test_no_time_is_counted_twice():
    events = [
        script.Event("loop", 0.0, 10.0),
        script.Event("body", 1.0, 4.0),
        script.Event("inner", 2.0, 3.0),
        script.Event("body", 4.0, 9.0),
        script.Event("after", 10.0, 12.0),
    ]
    spent = sorted(script.self_times(reversed(events)))
    assert spent == [("after", 2.0), ("body", 2.0), ("body", 5.0), ("inner", 1.0), ("loop", 2.0)]


@pytest.fixture
def locations():
    """What an instruction comes from, which the other tests do without."""
    jax.config.update("jax_include_full_tracebacks_in_locations", True)
    yield
    jax.config.update("jax_include_full_tracebacks_in_locations", False)


def test_operations_are_traced_to_their_source(locations):
    def named(x):
        with jax.named_scope("the_sine"):
            return jax.lax.fori_loop(0, 3, lambda _, y: jnp.sin(y) @ y, x)

    text = jax.jit(named).lower(jnp.ones((8, 8))).compile().as_text()
    found = script.sources(text)
    assert any("the_sine" in source and source.endswith("sin") for source in found.values())
    assert "HloModule" not in found
