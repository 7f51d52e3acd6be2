"""Convolutions of many lifetimes at once: lpg/agents/convolution.py against a vmapped `lax.conv`.

    python scripts/bench_convolution.py --lifetimes 8 --batch 1280 --board 10 --channels 4

Every lifetime has weights of its own, so a vmapped `lax.conv` becomes a grouped convolution. Three
programs are timed: the output, its gradient, and the gradient of a function of that gradient, which
is what a meta-gradient through an agent update asks for.
"""

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import tyro
from timing import seconds_by_turns

from lpg.agents.convolution import Conv3x3


@dataclass(frozen=True)
class Benchmark:
    lifetimes: int = 8
    batch: int = 1280
    """Boards per lifetime: T x B."""
    board: int = 10
    channels: int = 4
    features: int = 16
    repeats: int = 5


class XLAConv(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Conv(self.features, (3, 3), padding="SAME")(x)


def programs(module: nn.Module, x: jax.Array) -> dict[str, Callable[[], Any]]:
    keys = jax.random.split(jax.random.key(0), len(x))
    params = jax.vmap(lambda k: module.init(k, x[0]))(keys)

    def loss(params, x):
        return jnp.sum(jnp.square(module.apply(params, x)))

    def moved(params, x):
        return loss(jax.tree.map(lambda p, g: p - 1e-3 * g, params, jax.grad(loss)(params, x)), x)

    jitted = {
        "output": jax.jit(jax.vmap(module.apply)),
        "gradient": jax.jit(jax.vmap(jax.grad(loss))),
        "through an update": jax.jit(jax.vmap(jax.grad(moved))),
    }
    return {name: (lambda p=program: p(params, x)) for name, program in jitted.items()}


def main() -> None:
    b = tyro.cli(Benchmark)
    shape = (b.lifetimes, b.batch, b.board, b.board, b.channels)
    x = jax.random.normal(jax.random.key(1), shape)
    modules = {
        "convolve": (Conv3x3(b.features), x),
        "lax.conv": (XLAConv(b.features), x),
    }
    both = {
        f"{name}: {what}": program
        for name, module in modules.items()
        for what, program in programs(*module).items()
    }
    rounds = seconds_by_turns(both, b.repeats)
    times = {name: 1e3 * statistics.median(one[name] for one in rounds) for name in both}
    print(f"{jax.devices()[0].device_kind}, ms     convolve    lax.conv   ratio")
    for what in ("output", "gradient", "through an update"):
        ours, other = times[f"convolve: {what}"], times[f"lax.conv: {what}"]
        print(f"{what:20s} {ours:10.1f} {other:11.1f} {other / ours:7.2f}")
    print(json.dumps(times))


if __name__ == "__main__":
    main()
