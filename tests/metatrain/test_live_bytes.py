"""What a trace says of memory, in closed form; a float is 4 bytes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metatrain.devices.live_bytes import device_bytes, peak_bytes

N = 1000


def peak(function, *shapes):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return peak_bytes(jax.jit(function).trace(*arguments).jaxpr.jaxpr)


def test_a_chain_holds_two_at_a_time():
    """What is read and what is made; the argument is its caller's."""
    assert peak(lambda x: jnp.sin(jnp.cos(jnp.tan(x))), (N,)) == 2 * 4 * N


def test_what_is_read_later_is_held_until_then():
    def function(x):
        early = jnp.sin(x)
        return jnp.cos(jnp.tan(jnp.exp(x))) + early

    assert peak(function, (N,)) == 3 * 4 * N


def test_what_nobody_reads_is_not_held():
    def function(x):
        jnp.cos(x)
        return jnp.tan(jnp.sin(x))

    assert peak(function, (N,)) == 2 * 4 * N


@pytest.mark.parametrize("length", [50, 5000])
def test_a_loop_holds_what_it_stacks_and_one_rounds_work(length):
    def round_(carry, _):
        made = jnp.sin(carry)  # [N], and a sum of it
        return carry, jnp.sum(made)

    def function(x):
        return jax.lax.scan(round_, x, length=length)[1]

    assert peak(function, (N,)) == 4 * (N + 1 + length)


def test_the_larger_branch_counts():
    def function(x):
        return jax.lax.cond(x[0] > 0, lambda: jnp.sum(jnp.outer(x, x)), lambda: jnp.sum(jnp.sin(x)))

    assert peak(function, (N,)) >= 4 * N * N
    assert peak(function, (N,)) < 4 * N * N + 6 * 4 * N


@pytest.mark.parametrize("devices", [1, 4])
def test_a_device_holds_its_share(devices):
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:devices]), ("x",))

    def function(x):
        return jnp.sin(jnp.cos(x))

    shared = jax.shard_map(function, mesh=mesh, in_specs=jax.P("x"), out_specs=jax.P("x"))
    argument = jax.ShapeDtypeStruct((4 * N,), jnp.float32)
    held = device_bytes(jax.jit(shared).trace(argument).jaxpr.jaxpr)
    assert held == 3 * 4 * (4 * N // devices)
