"""A GIF of a trained agent's episodes, in worlds that can be drawn."""

from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array, UInt8

from lpg.rollout import RolloutState, rollout, start
from metatest.agents import TrainedAgent, digest
from metatest.gif import is_of, write_gif
from metatest.pictures import drawing_of

STEPS, MILLISECONDS = 300, 100


def film(path: Path, trained: TrainedAgent, num_steps: int = STEPS) -> None:
    """Write the GIF, unless it is there or the agent's world cannot be drawn."""
    shows = f"{num_steps} steps of the agent sha256 {digest(trained.params)}"
    if not is_of(path, shows) and (screens := pictures(trained, num_steps)):
        write_gif(path, screens, MILLISECONDS, shows)


def pictures(trained: TrainedAgent, num_steps: int) -> list[UInt8[np.ndarray, "height width 3"]]:
    """Of the states that one environment goes through, episode after episode."""
    env, params = trained.world()
    draw = drawing_of(env)
    if draw is None:
        return []

    def step(state: RolloutState, key: Array) -> tuple[RolloutState, RolloutState]:
        return rollout(key, env, params, trained.policy, state, 1)[0], state

    begin = start(jax.random.key(0), env, params, 1)
    keys = jax.random.split(jax.random.key(1), num_steps)
    visited = jax.device_get(jax.jit(lambda: jax.lax.scan(step, begin, keys)[1])())
    own = [jax.tree.map(lambda x, t=t: x[t, 0], visited) for t in range(num_steps)]
    return [draw(each.observation, each.env_state, params) for each in own]
