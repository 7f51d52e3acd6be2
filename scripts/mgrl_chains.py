"""MGRL's toy chains: meta-gradients find which states to trust (Xu et al. 2018, section 3.1).

    python scripts/mgrl_chains.py --output docs/mgrl_chains

State-dependent gamma and lambda are learned while a table predicts returns. Chain 1 pays 0.1 and
noise by turns: gamma falls where it leads into states that pay noise. Chain 2 pays noise and then
its negation: lambda is high from the noise into its negation, so that they cancel, and not back.
Left in OUTPUT: chains.json, mgrl_chains.png and .pdf. A minute on a CPU.
"""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jaxtyping import Array, Float

from lpg.runs import figures

Chain = Literal["gamma", "lambda"]
LENGTHS: dict[Chain, int] = {"gamma": 10, "lambda": 9}
STEP = 0.5  # of the table
ADAM = optax.adam(3e-3)


@dataclass(frozen=True)
class Study:
    """Both chains, over seeds."""

    output: Path
    seeds: int = 10
    updates: int = 20_000
    points: int = 100
    quick: bool = False
    """Three seeds, a quarter of the updates."""


class State(NamedTuple):
    """A table of values, and eta before its sigmoid, one number a state."""

    value: Float[Array, "S"]
    raw: Float[Array, "S"]
    opt_state: Any


def rewards(chain: Chain, key: Array) -> Float[Array, "S"]:
    """Of leaving each state, in an episode that visits all in their order."""
    noise = jax.random.normal(key, (LENGTHS[chain],))
    odd = jnp.arange(LENGTHS[chain]) % 2 == 1
    if chain == "gamma":
        return jnp.where(odd, noise, 0.1)
    return jnp.where(odd, -jnp.roll(noise, 1), noise)


def returns(
    reward: Float[Array, "S"], value: Float[Array, "S"], gamma: Array, lam: Array
) -> Float[Array, "S"]:
    """G_t = R_{t+1} + gamma_{t+1} ((1 - lambda_{t+1}) v(S_{t+1}) + lambda_{t+1} G_{t+1}): both are
    those of the state that is entered, and the last state is left for good."""

    def step(following: Array, x: tuple[Array, ...]) -> tuple[Array, Array]:
        r, entered, g, mix = x
        total = r + g * ((1 - mix) * entered + mix * following)
        return total, total

    entered, g, mix = (jnp.append(x[1:], 0.0) for x in (value, gamma, lam))
    _, found = jax.lax.scan(step, jnp.float32(0), (reward, entered, g, mix), reverse=True)
    return found


def update(chain: Chain, state: State, key: Array) -> State:
    """One episode for the table, another one for eta."""
    inner, outer = (rewards(chain, k) for k in jax.random.split(key))
    ones = jnp.ones_like(state.value)

    def outer_loss(raw: Array) -> tuple[Array, Array]:
        eta = jax.nn.sigmoid(raw)
        gamma, lam = (eta, ones) if chain == "gamma" else (ones, eta)
        target = returns(inner, state.value, gamma, lam)
        after = state.value + STEP * (target - state.value)
        whole = returns(outer, state.value, ones, ones)
        return 0.5 * jnp.sum((whole - after) ** 2), after

    gradient, value = jax.grad(outer_loss, has_aux=True)(state.raw)
    change, opt_state = ADAM.update(gradient, state.opt_state)
    return State(value, optax.apply_updates(state.raw, change), opt_state)  # type: ignore[arg-type]


def learn(chain: Chain, key: Array, updates: int, points: int) -> Float[Array, "P S"]:
    """eta of every state over learning."""
    zeros = jnp.zeros(LENGTHS[chain])
    each = updates // points

    def interval(state: State, point: Array) -> tuple[State, Array]:
        def one(i: Array, state: State) -> State:
            return update(chain, state, jax.random.fold_in(key, point * each + i))

        state = jax.lax.fori_loop(0, each, one, state)
        return state, jax.nn.sigmoid(state.raw)

    return jax.lax.scan(interval, State(zeros, zeros, ADAM.init(zeros)), jnp.arange(points))[1]


def run(chain: Chain, seeds: int, updates: int, points: int) -> Float[np.ndarray, "N P S"]:
    """eta of N seeds."""
    keys = jax.random.split(jax.random.key(0), seeds)
    return np.asarray(
        jax.jit(jax.vmap(partial(learn, chain, updates=updates, points=points)))(keys)
    )


def kinds(chain: Chain) -> dict[str, np.ndarray]:
    """States by what leaving them pays, all but the first, which nothing enters."""
    states = np.arange(1, LENGTHS[chain])
    names = ("noise", "signal") if chain == "gamma" else ("negation", "noise")
    return {names[0]: states[states % 2 == 1], names[1]: states[states % 2 == 0]}


def main() -> None:
    study = tyro.cli(Study)
    seeds, updates = (3, study.updates // 4) if study.quick else (study.seeds, study.updates)
    study.output.mkdir(parents=True, exist_ok=True)
    found = {}
    with figures.panels(study.output / "mgrl_chains.png", 2, 2, (5.0, 3.6)) as (_, axes):
        for axis, chain in zip(axes, LENGTHS, strict=True):
            eta = run(chain, seeds, updates, study.points)
            steps, lines = np.linspace(0, updates, study.points + 1)[1:], {}
            for (kind, states), look in zip(kinds(chain).items(), figures.LOOKS, strict=False):
                curve = eta[..., states].mean(axis=-1)
                (lines[f"into {kind}"],) = axis.plot(steps, curve.mean(axis=0), **look)
                axis.plot(steps, curve.T, color=look["color"], linewidth=0.4, alpha=0.5)
                last = eta[:, -1, states].mean(axis=0)
                found[f"{chain} into {kind}"] = {
                    int(s): round(float(x), 3) for s, x in zip(states, last, strict=True)
                }
            axis.set(title=f"{chain} by state entered", xlabel="update", ylim=(0, 1))
            figures.legend(axis, lines)
    text = json.dumps({"seeds": seeds, "updates": updates, **found}, indent=1)
    (study.output / "chains.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
