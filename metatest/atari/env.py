"""Real Atari through ale-py's vector environment, in two halves that take turns.

While one half is being emulated the network chooses the other half's actions, so that neither the
emulator nor the network waits for the other longer than it must.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lpg.agents.nature_network import SCREEN
from metatest.atari.emulator import Emulator, EmulatorError
from metatest.atari.games import Game

MAX_FRAMES = 108_000  # 30 minutes of play
FRAMES_PER_STEP = 4
ALL_ACTIONS = 18


@dataclass(frozen=True)
class AtariSettings:
    """Preprocessing (Mnih et al. 2015; Oh et al. 2020, B.2)."""

    num_envs: int = 30
    """Parallel environments (Table 4: 30)."""
    sticky_actions: float = 0.0
    """Probability that the last action is repeated; 0.25 is Machado et al. 2018's."""
    life_loss: bool = False
    """Whether losing a life ends an episode for learning; scores always count whole games."""
    all_actions: bool = False
    """All 18 of the joystick in place of those that the game has a use for."""
    emulator_threads: int = 0
    """Threads of each half's emulator; 0 lets ale-py choose."""

    def __post_init__(self) -> None:
        if self.num_envs < 2 or self.num_envs % 2:
            raise ValueError(f"num_envs must be even and at least 2, got {self.num_envs}.")
        if not 0 <= self.sticky_actions < 1:
            raise ValueError(f"sticky_actions must lie in [0, 1), got {self.sticky_actions}.")

    def num_actions(self, game: Game) -> int:
        """That an agent chooses from."""
        return ALL_ACTIONS if self.all_actions else game.minimal_actions


# From screens u8 [B / 2, 4, 84, 84] to actions i32 [B / 2] and their log-probabilities f32 [B / 2].
Choose = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Episode(NamedTuple):
    """A finished game; `frames` are the emulator's, four a step."""

    score: float  # unclipped
    frames: int


class AtariRollout(NamedTuple):
    """T steps of B environments; row t + 1 after an end is the next episode's first screen."""

    observation: np.ndarray  # u8 [T+1, B, 4, 84, 84]
    action: np.ndarray  # i32 [T, B]
    reward: np.ndarray  # f32 [T, B], clipped to [-1, 1]
    terminated: np.ndarray  # bool [T, B]
    truncated: np.ndarray  # bool [T, B]
    behaviour_log_prob: np.ndarray  # f32 [T, B], of the action when it was chosen
    episodes: list[Episode]  # that ended


@dataclass
class _Half:
    """One vector environment, with the action that it is executing."""

    emulator: Emulator
    rows: slice
    observation: np.ndarray
    score: np.ndarray
    started: np.ndarray  # episode frame number at the last step
    pending: tuple[np.ndarray, np.ndarray] | None = None  # and its log-probability


@dataclass
class AtariEnv:
    """`num_envs` copies of one game. Whatever it is asked for raises EmulatorError where an
    emulator hangs or has died."""

    game: str
    settings: AtariSettings
    seed: int
    num_actions: int = field(init=False)

    def __post_init__(self) -> None:
        self._vector_env = _import_ale()
        self._emulators: list[Emulator] = []
        half = self.settings.num_envs // 2
        try:
            self._halves = [self._start(i, slice(i * half, (i + 1) * half)) for i in range(2)]
        except EmulatorError:
            self.close()
            raise

    def _start(self, index: int, rows: slice) -> _Half:
        count = rows.stop - rows.start
        make = partial(_make, self._vector_env, self.game, count, self.settings)
        emulator = Emulator(self.game, make)
        self._emulators.append(emulator)
        seeds = np.random.SeedSequence([self.seed, index]).generate_state(count)
        emulator.ask(partial(_reset, seeds=(seeds % 2**31).astype(np.int64)))
        self.num_actions, observation, frame = emulator.answer()
        return _Half(emulator, rows, observation, np.zeros(count), frame)

    def rollout(self, choose: Choose, num_steps: int) -> AtariRollout:
        """T steps of actions that `choose` chooses, half of the environments at a time."""
        count = self.settings.num_envs
        out = AtariRollout(
            observation=np.empty((num_steps + 1, count, *SCREEN), np.uint8),
            action=np.empty((num_steps, count), np.int32),
            reward=np.empty((num_steps, count), np.float32),
            terminated=np.empty((num_steps, count), bool),
            truncated=np.empty((num_steps, count), bool),
            behaviour_log_prob=np.empty((num_steps, count), np.float32),
            episodes=[],
        )
        for half in self._halves:
            out.observation[0, half.rows] = half.observation
            if half.pending is None:  # the very first step
                self._send(half, choose)
        for t in range(num_steps):
            for half in self._halves:
                out.action[t, half.rows], out.behaviour_log_prob[t, half.rows] = half.pending
                self._receive(half, out, t)
                # The action for step t + 1, which the emulator executes during the other's turn.
                self._send(half, choose)
        for half in self._halves:
            half.observation = half.observation.copy()  # or all of `out` would stay in memory
        return out

    def _send(self, half: _Half, choose: Choose) -> None:
        action, log_prob = choose(half.observation)
        # An action out of range would hang ale-py's worker for ever.
        if action.min() < 0 or action.max() >= self.num_actions:
            raise ValueError(
                f"Actions of {self.game} lie in 0..{self.num_actions - 1}, got {action}."
            )
        half.emulator.ask(partial(_step, action=np.ascontiguousarray(action, np.int32)))
        half.pending = action, log_prob

    def _receive(self, half: _Half, out: AtariRollout, t: int) -> None:
        observation, reward, terminated, truncated, info = half.emulator.answer()
        half.observation = out.observation[t + 1, half.rows]
        half.observation[:] = observation
        out.reward[t, half.rows] = np.clip(reward, -1, 1)
        out.terminated[t, half.rows] = terminated
        out.truncated[t, half.rows] = truncated
        half.score += reward
        frame = info["episode_frame_number"]
        # With `life_loss` a lost life is reported as terminated, but the game's clock goes on.
        over = (terminated | truncated) & (frame < half.started + 1)
        for i in np.flatnonzero(over):
            length = int(half.started[i]) + FRAMES_PER_STEP
            out.episodes.append(Episode(float(half.score[i]), length))
            half.score[i] = 0.0
        half.started = frame.copy()

    def close(self) -> None:
        """End both halves' emulators, once the actions that they have are executed; one that hangs
        is left behind."""
        for emulator in self._emulators:
            emulator.close()


def _make(vector_env: Any, game: str, count: int, settings: AtariSettings) -> Any:
    from gymnasium.vector import AutoresetMode

    return vector_env(
        game,
        count,
        num_threads=settings.emulator_threads,
        max_num_frames_per_episode=MAX_FRAMES,
        repeat_action_probability=settings.sticky_actions,
        autoreset_mode=AutoresetMode.SAME_STEP,
        life_loss_info=settings.life_loss,
        full_action_space=settings.all_actions,
        # Clipped here instead: ale-py would hide the score. The 57-game protocol knows no fire at
        # resets.
        reward_clipping=False,
        use_fire_reset=False,
    )


def _reset(env: Any, seeds: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """How many actions there are, first screens, and frames of the episodes."""
    observation, info = env.reset(seed=seeds)
    return int(env.single_action_space.n), observation, info["episode_frame_number"].copy()


def _step(env: Any, action: np.ndarray) -> Any:
    env.send(action)
    return env.recv()


def check_installed() -> None:
    """Raises ValueError, saying what to install, where ale-py is missing."""
    _import_ale()


def _import_ale() -> Any:
    try:
        from ale_py.vector_env import AtariVectorEnv
    except ImportError as error:
        raise ValueError(
            "Atari needs ale-py and gymnasium; install them with pip install 'lpg-engine[atari]'."
        ) from error
    return AtariVectorEnv
