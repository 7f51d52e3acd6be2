"""Convolutions of Atari's networks: lpg/agents/screens.py against XLA's derivatives of its own.

    python scripts/bench_screens.py --network nature --screens 336
    python scripts/bench_screens.py --network resnet --screens 48

By turns: the gradient of a loss, the same twice in a loop, and what a meta-gradient asks for, the
gradient of a loss after a gradient step. Seconds of wall time on a CPU; compilation apart.
"""

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import tyro
from timing import seconds_by_turns

from lpg.agents.impala_resnet import ResNetAgent
from lpg.agents.nature_network import AtariAgent
from lpg.heads import Heads
from lpg.platform import traced_for

NETWORKS = {"nature": AtariAgent, "resnet": ResNetAgent}


@dataclass(frozen=True)
class Benchmark:
    network: Literal["nature", "resnet"] = "nature"
    screens: int = 336
    rounds: int = 4


def programs(benchmark: Benchmark) -> dict[str, Callable[[], Any]]:
    agent = NETWORKS[benchmark.network](Heads(logits=6, value=1))
    params = agent.init(jax.random.key(0), jnp.int32(0))
    shape = (benchmark.screens, 4, 84, 84)
    screens = jax.random.randint(jax.random.key(1), shape, 0, 256, jnp.uint8)

    def loss(params: Any, screens: jax.Array) -> jax.Array:
        return jnp.mean(jnp.square(agent.apply(params, screens)))

    def step(params: Any, screens: jax.Array) -> Any:
        grads = jax.grad(loss)(params, screens)
        return jax.tree.map(lambda p, g: p - 1e-3 * g, params, grads)

    def loop(params: Any, screens: jax.Array) -> Any:
        return jax.lax.scan(lambda p, _: (step(p, screens), None), params, None, length=2)[0]

    def through_an_update(params: Any, screens: jax.Array) -> Any:
        return jax.grad(lambda p: loss(step(p, screens), screens))(params)

    def made(function: Callable[..., Any], platform: str) -> Callable[[], Any]:
        program = jax.jit(traced_for(platform, lambda *x: function(*x)))
        return lambda: program(params, screens)

    # For another platform than a CPU they are traced as flax has them.
    whose = {"ours": "cpu", "XLA's": "another"}
    asked = {"gradient": jax.grad(loss), "two in a loop": loop, "meta": through_an_update}
    return {
        f"{name}, {own}": made(function, platform)
        for name, function in asked.items()
        for own, platform in whose.items()
    }


def main() -> None:
    benchmark = tyro.cli(Benchmark)
    rounds = seconds_by_turns(programs(benchmark), benchmark.rounds)
    found = {name: round(statistics.median(x[name] for x in rounds), 3) for name in rounds[0]}
    print(json.dumps({"network": benchmark.network, "screens": benchmark.screens} | found))


if __name__ == "__main__":
    main()
