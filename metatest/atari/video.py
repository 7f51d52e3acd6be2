"""A short GIF of an agent at play."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from metatest.atari.env import AtariEnv, AtariSettings
from metatest.atari.games import Game
from metatest.atari.train import AtariState, Player, Programs
from metatest.gif import write_gif
from metatest.train_agent import acting

SCALE, EVERY, MILLISECONDS = 2, 2, 66  # every second screen: real time at 60 frames a second


def record(
    programs: Programs,
    state: AtariState,
    game: Game,
    settings: AtariSettings,
    num_steps: int,
    path: Path,
    shows: str,
) -> None:
    """The newest grey screens of one environment, as the agent sees them, twice the size; `shows`
    is what the GIF says of itself."""
    state = state._replace(lagging=(acting(programs.learner, state.learner),))
    env = AtariEnv(game.name, replace(settings, num_envs=2), seed=12_345)
    try:
        rollout = env.rollout(Player(programs, state), num_steps)
    finally:
        env.close()
    screens = rollout.observation[::EVERY, 0, -1]
    large = np.repeat(np.repeat(screens, SCALE, axis=1), SCALE, axis=2)
    write_gif(path, list(large), MILLISECONDS, shows)
