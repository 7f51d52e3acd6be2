"""Runs of Atari games that can be stopped and continued, one after the other.

A run's folder holds checkpoints, `metrics.jsonl` and, when done, nothing more to do: a sweep asks
for all 57 games again and only the missing ones are played.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lpg.runs.checkpoint import Checkpoints
from lpg.runs.command import stop_signals
from lpg.runs.resume import forget_after, keep_options
from metatest.algorithms import Algorithm
from metatest.atari.env import AtariEnv, AtariSettings
from metatest.atari.games import Game
from metatest.atari.train import Programs, frames, hypers, make_programs, newborn, play_and_learn
from metatest.atari.video import record
from metatest.curve import Curve
from metatest.report.results import Result
from metatest.selection import Choice, choose_arm

# Options that may differ when a run is taken up again.
FREE_OPTIONS = ("seeds", "log_every", "checkpoint_every", "video_steps")
Arm = tuple[float, float]  # learning rate, alpha_y
SELECTION_SEED = 1_000_000  # seeds of runs that only choose an arm


@dataclass(frozen=True)
class AtariOptions:
    """Meta-testing on Atari (Oh et al. 2020, B.2 and Table 4)."""

    frames: int = 200_000_000
    """Emulator frames of one agent; 200M are 83,333 updates."""
    learning_rates: tuple[float, ...] = (5e-4,)
    """Adam's; several are tried on a run of their own (searched: 1e-3, 5e-4, 3e-4)."""
    prediction_costs: tuple[float, ...] = (0.5,)
    """alpha_y, for A2C the value's weight (searched: 1, 0.5, 0.1)."""
    gamma: float = 0.995
    """Discount factor (Table 4)."""
    num_steps: int = 20
    """Steps of a trajectory (Table 4)."""
    seeds: int = 3
    """Independent agents per game."""
    selection_frames: int = 10_000_000
    """Frames of each run that only chooses among several arms."""
    log_every: int = 100
    """Updates between lines of metrics.jsonl."""
    checkpoint_every: int = 500
    """Updates between checkpoints."""
    video_steps: int = 900
    """Steps of the final agent's video; 0 for none."""
    settings: AtariSettings = field(default_factory=AtariSettings)

    def __post_init__(self) -> None:
        counts = ("seeds", "num_steps", "log_every", "checkpoint_every", "frames")
        for name in (*counts, "selection_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"Atari's {name} must be at least 1, got {getattr(self, name)}.")
        if not 0 <= self.gamma < 1:
            raise ValueError(f"Atari's gamma must lie in [0, 1), got {self.gamma}.")
        if not self.learning_rates or not self.prediction_costs:
            raise ValueError("Atari needs at least one learning rate and one alpha_y.")

    def num_updates(self, total_frames: int) -> int:
        """Agent updates that fit into `total_frames` emulator frames, at least one."""
        return max(1, total_frames // frames(1, self.settings.num_envs, self.num_steps))


class Stopped(Exception):
    """A signal asked to stop; everything is saved."""


def evaluate_atari(
    algorithm: Algorithm,
    game: Game,
    options: AtariOptions,
    run_dir: Path,
    on_progress: Callable[[int, dict[str, Any]], None] = lambda updates, record: None,
) -> Result:
    """Choose an arm where there are several, then train `seeds` agents; resumes what it finds.

    Raises ValueError where the folder holds a run of other options, Stopped after a signal.
    """
    folder = run_dir / "atari" / game.name / algorithm.name
    folder.mkdir(parents=True, exist_ok=True)
    keep_options(folder / "options.json", asdict(options), FREE_OPTIONS)
    env = AtariEnv(game.name, AtariSettings(num_envs=2), 0)
    programs = make_programs(algorithm.learner, env.num_actions)
    env.close()
    live = partial(run_agent, programs, game, options, on_progress=on_progress)
    arms = list(product(options.learning_rates, options.prediction_costs))
    tried = _choose(live, arms, options.num_updates(options.selection_frames), folder)
    chosen = arms[0 if tried is None else tried.best]
    total = options.num_updates(options.frames)
    lives = [live(chosen, seed, total, folder / f"seed{seed}") for seed in range(options.seeds)]
    if options.video_steps:
        _video(programs, game, options, chosen, folder, run_dir, algorithm.name)
    return Result.of(
        as_curve(lives),
        options.settings.num_envs * options.num_steps,
        suite="atari",
        env=game.name,
        algorithm=algorithm.name,
        learning_rate=chosen[0],
        prediction_cost=chosen[1],
        num_envs=options.settings.num_envs,
        gamma=options.gamma,
        reward_scale=1.0,
        selection=[[*chosen, None, None]] if tried is None else tried.rows(arms),
        selection_metric=None if tried is None else tried.metric,
        random_return=game.random,
        reference_return=game.human,
    )


def _choose(live: Callable[..., Any], arms: list[Arm], total: int, folder: Path) -> Choice | None:
    """By one agent an arm; None where there is nothing to choose."""
    if len(arms) == 1:
        return None
    lives = [live(arm, SELECTION_SEED, total, folder / f"arm{i}") for i, arm in enumerate(arms)]
    return choose_arm(as_curve(lives), len(arms))


def run_agent(
    programs: Programs,
    game: Game,
    options: AtariOptions,
    arm: Arm,
    seed: int,
    num_updates: int,
    folder: Path,
    on_progress: Callable[[int, dict[str, Any]], None],
) -> list[dict[str, Any]]:
    """One agent's lines of metrics.jsonl, from the first update to the last."""
    checkpoints = Checkpoints(folder)
    state = newborn(programs, seed, hypers(*arm, options.gamma))
    restored = checkpoints.restore_newest(jax.eval_shape(lambda: state))
    state = state if restored is None else restored.state
    done = int(state.update)
    log = folder / "metrics.jsonl"
    lines = forget_after(log, "update", done)
    on_progress(done, lines[-1] if lines else {})
    if done >= num_updates:
        return lines
    # Not the seed alone: a resumed run must not play its first games again.
    env = AtariEnv(game.name, options.settings, seed * 1_000_003 + done)
    try:
        with stop_signals() as stop, log.open("a") as file:
            while done < num_updates and not stop:
                step = min(
                    options.log_every - done % options.log_every,
                    options.checkpoint_every - done % options.checkpoint_every,
                    num_updates - done,
                )
                state, interval = play_and_learn(programs, state, env, step, options.num_steps)
                done += step
                line = _line(game, options, done, interval)
                lines.append(line)
                file.write(json.dumps(line) + "\n")
                file.flush()
                on_progress(step, line)
                if done % options.checkpoint_every == 0 or done == num_updates or stop:
                    checkpoints.save(done, state._replace(kept=()))
            if done < num_updates:
                raise Stopped
    finally:
        env.close()
    return lines


def _line(game: Game, options: AtariOptions, done: int, interval: Any) -> dict[str, Any]:
    scores = [episode.score for episode in interval.episodes]
    per_update = frames(1, options.settings.num_envs, options.num_steps)
    score = float(np.mean(scores)) if scores else None
    return {
        "update": done,
        "frames": done * per_update,
        "episodes": len(scores),
        "score": score,
        "human_normalised": None if score is None else game.human_normalised(score),
        "reward_per_step": interval.reward_per_step,
        "updates": interval.updates,
        "seconds": round(interval.seconds, 3),
        "frames_per_second": round(interval.updates * per_update / interval.seconds),
    }


def as_curve(lives: list[list[dict[str, Any]]]) -> Curve:
    """Lives by their lines, which all have at the same updates; return is the game's score."""

    def of_all(name: str) -> np.ndarray:
        return np.array([[line[name] for line in life] for life in lives], float).T

    updates = np.array([line["update"] for line in lives[0]])
    return Curve(updates, of_all("reward_per_step"), of_all("score"), np.zeros(len(lives), bool))


def _video(
    programs: Programs,
    game: Game,
    options: AtariOptions,
    arm: Arm,
    folder: Path,
    run_dir: Path,
    name: str,
) -> None:
    path = run_dir / "videos" / f"{game.name}-{name}.gif"
    state = newborn(programs, 0, hypers(*arm, options.gamma))
    restored = Checkpoints(folder / "seed0").restore_newest(jax.eval_shape(lambda: state))
    if restored is not None and not path.exists():
        record(programs, restored.state, game, options.settings, options.video_steps, path)
