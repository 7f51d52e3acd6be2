"""What an agent's update would take were its derivative taken forward over reverse (Kemaev et al.
2025, arXiv 2505.00793): compiled for a card that need not be here, beside reverse over reverse.

    python scripts/mixed_mode.py --card h100

An outer gradient that meets a gradient's and an output's cotangents u and w needs, of
F(theta, nu) = (f(theta), J(theta)' nu), the one or the other: the vjp at (w, u), or, second
derivatives being symmetric, the jvp of (f, J' nu) along (u, w). Printed: both, and how alike their
results are.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import compile_for_gpu
import jax
import jax.numpy as jnp
import tyro
from foretell import forecast
from hlo_costs import kernels
from hlo_program import parse
from jax.sharding import SingleDeviceSharding

from lpg.agents import banded
from lpg.agents.convolution import _channels_last, turned
from lpg.agents.network import NetworkAgent
from lpg.heads import Heads
from lpg.platform import for_platform

HEADS = Heads(logits=18, prediction=30)
BOARDS = 64 * 21  # of a life: environments and steps


@dataclass(frozen=True)
class Options:
    card: Literal["h100", "h200"] = "h100"


@dataclass(frozen=True)
class Case:
    """Lives of an agent; C(conv)-D(dense) on boards of `planes` planes."""

    name: str
    lives: int
    planes: int
    conv: tuple[int, ...]
    dense: int
    width: int = 11
    boards: int = BOARDS

    @property
    def agent(self) -> NetworkAgent:
        shape = (self.planes, self.width, self.width)
        return NetworkAgent(HEADS, shape, self.conv, (self.dense,), "bfloat16")

    def arguments(self) -> tuple[Any, ...]:
        """Shapes of theta, nu, boards, w and u, of all lives."""
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), self.lives))
        theta = jax.eval_shape(jax.vmap(lambda key: self.agent.init(key, jnp.int32(0))), keys)
        vector = jax.ShapeDtypeStruct((self.lives, self.boards, HEADS.total), jnp.float32)
        boards = (self.lives, self.boards, *self.agent.observation_shape)
        return theta, vector, jax.ShapeDtypeStruct(boards, jnp.uint8), vector, theta


CASES = (
    Case("rand_very_dense", 64, 2, (32, 16, 16), 256),
    Case("rand_dense, rand_long_horizon", 128, 4, (16,), 32),
)


def reverse_over_reverse(case: Case) -> Callable[..., Any]:
    """By the network as it is: cotangents of theta and nu."""

    def one(theta: Any, nu: Any, boards: Any, w: Any, u: Any) -> Any:
        def both(theta: Any, nu: Any) -> Any:
            vector, pullback = jax.vjp(lambda theta: case.agent.apply(theta, boards), theta)
            return vector, *pullback(nu)

        return jax.vjp(both, theta, nu)[1]((w, u))

    return jax.vmap(one)


def forward_over_reverse(case: Case) -> Callable[..., Any]:
    """By a pass written out, since the network's own rules know no forward mode."""

    def one(theta: Any, nu: Any, boards: Any, w: Any, u: Any) -> Any:
        def both(theta: Any, nu: Any) -> Any:
            return forward_and_back(case, theta, nu, boards)

        vector, gradient = jax.jvp(both, (theta, nu), (u, w))[1]
        return gradient, vector

    return jax.vmap(one)


def forward_and_back(case: Case, theta: Any, nu: Any, boards: Any) -> tuple[Any, Any]:
    """The vector, and the gradient for its cotangent."""
    seen = [jnp.moveaxis(boards, 1, -1).astype(jnp.bfloat16)]
    made = []
    for layer in (theta[f"conv{i}"] for i in range(len(case.conv))):
        made.append(layer["kernel"].reshape((3, 3, seen[-1].shape[-1], -1)))
        seen.append(jax.nn.relu(banded.convolve(made[-1], layer["bias"], seen[-1])))
    dense, heads, board = theta["dense0"], theta["heads"], seen[-1].shape[1:]
    rows = _channels_last(dense["kernel"], board).astype(jnp.bfloat16)
    flat = seen[-1].reshape((case.boards, -1))
    hidden = jnp.matmul(flat, rows, preferred_element_type=jnp.float32) + dense["bias"]
    hidden = jax.nn.relu(hidden)
    bar = jnp.where(hidden > 0, nu @ heads["kernel"].T, 0.0).astype(jnp.bfloat16)
    by_rows = jnp.matmul(flat.T, bar, preferred_element_type=jnp.float32)
    by_rows = jnp.moveaxis(by_rows.reshape((*board, -1)), 2, 0).reshape(dense["kernel"].shape)
    gradient = {
        "heads": {"kernel": hidden.T @ nu, "bias": nu.sum(0)},
        "dense0": {"kernel": by_rows, "bias": bar.sum(0, dtype=jnp.float32)},
    }
    gradient |= back_through_boards(theta, made, seen, (bar @ rows.T).reshape(seen[-1].shape))
    return hidden @ heads["kernel"] + heads["bias"], gradient


def back_through_boards(theta: Any, made: list[Any], seen: list[Any], bar: Any) -> dict[str, Any]:
    """The convolutions' gradients; `made` are their kernels, `seen` the boards before each and
    after the last."""
    gradient = {}
    for i in reversed(range(len(made))):
        bar = jnp.where(seen[i + 1] > 0, bar, 0)
        by_kernel = banded.correlate(seen[i], bar).reshape(theta[f"conv{i}"]["kernel"].shape)
        by_bias = bar.sum((0, 1, 2), dtype=jnp.float32)
        gradient[f"conv{i}"] = {"kernel": by_kernel, "bias": by_bias}
        if i:
            bar = banded.convolve(turned(made[i]), None, bar)
    return gradient


WAYS = {"reverse over reverse": reverse_over_reverse, "forward over reverse": forward_over_reverse}


def alike() -> float:
    """The cosine of both ways' results on a small agent, run here."""
    case = Case("small", 2, 2, (6, 4, 4), 16, width=5, boards=3)
    leaves, tree = jax.tree.flatten(case.arguments())
    keys = jax.random.split(jax.random.key(0), len(leaves))
    drawn = [jnp.abs(jax.random.normal(k, x.shape)) for k, x in zip(keys, leaves, strict=True)]
    given = [x.astype(like.dtype) for x, like in zip(drawn, leaves, strict=True)]
    found = []
    for way in WAYS.values():
        with for_platform("gpu"):
            result = jax.jit(way(case))(*jax.tree.unflatten(tree, given))
        found.append(jnp.concatenate([x.ravel() for x in jax.tree.leaves(result)]))
    return float(found[0] @ found[1] / jnp.sqrt((found[0] @ found[0]) * (found[1] @ found[1])))


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    print(f"cosine of their results on a small agent: {alike():.6f}")
    try:
        sharding = SingleDeviceSharding(compile_for_gpu.device(options.card))
    except ValueError as error:
        sys.exit(f"mixed_mode: {error}")
    for case in CASES:
        given = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), case.arguments()
        )
        for name, way in WAYS.items():
            with for_platform("gpu"):
                program = jax.jit(way(case)).lower(*given).compile()
            found = forecast(kernels(parse(program.as_text())), options.card)
            temporary = program.memory_analysis().temp_size_in_bytes
            print(
                f"{case.name}, {name}: at least {1e3 * found.seconds:.2f} ms, "
                f"{found.whole.flop / 1e12:.2f} TFLOP, {found.whole.bytes / 1e9:.1f} GB moved, "
                f"{temporary / 1e9:.2f} GB temporaries",
                flush=True,
            )


if __name__ == "__main__":
    main()
