"""Runs of Atari games that can be stopped and continued, one after the other.

A run's folder holds checkpoints, `metrics.jsonl` and, when done, nothing more to do: a sweep asks
for all 57 games again and only the missing ones are played.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lpg.runs.checkpoint import Checkpoints
from lpg.runs.command import Stopped, stop_signals
from lpg.runs.resume import forget_after, keep_options
from metatest.algorithms import Algorithm
from metatest.atari.env import FRAMES_PER_STEP, AtariEnv, AtariSettings
from metatest.atari.games import Game
from metatest.atari.train import (
    AtariState,
    Interval,
    Programs,
    hypers,
    make_programs,
    newborn,
    play_and_learn,
)
from metatest.atari.video import record
from metatest.curve import Curve, by_name
from metatest.report.results import Result, folder_name
from metatest.selection import choose
from metatest.training import Arm

# Options that may differ when a run is taken up again.
FREE_OPTIONS = ("seeds", "log_every", "checkpoint_every", "video_steps")
SELECTION_SEED = 1_000_000  # seeds of runs that only choose an arm


@dataclass(frozen=True)
class AtariOptions:
    """Meta-testing on Atari (Oh et al. 2020, B.2 and Table 4)."""

    frames: int = 200_000_000
    """Emulator frames of one agent; 200M are 83,333 updates."""
    learning_rates: tuple[float, ...] = (5e-4,)
    """Adam's; several are tried on a run of their own (searched: 1e-3, 5e-4, 3e-4)."""
    prediction_costs: tuple[float | None, ...] = (0.5,)
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

    def of(self, algorithm: Algorithm) -> "AtariOptions":
        """With what the algorithm has of its own in place."""
        own = algorithm.training.atari
        given = {"learning_rates": own.learning_rates, "prediction_costs": own.prediction_costs}
        options = replace(self, **{name: x for name, x in given.items() if x is not None})
        if own.num_envs is None:
            return options
        return replace(options, settings=replace(self.settings, num_envs=own.num_envs))

    def steps_per_update(self, fresh: int = 1) -> int:
        """Environment steps of all emulators, for a learner that takes `fresh` new trajectories."""
        return fresh * self.settings.num_envs * self.num_steps

    def num_updates(self, total_frames: int, fresh: int = 1) -> int:
        """Agent updates that fit into `total_frames` emulator frames, at least one."""
        return max(1, total_frames // (self.steps_per_update(fresh) * FRAMES_PER_STEP))


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
    options, fresh = options.of(algorithm), algorithm.learner.fresh
    folder = run_dir / "atari" / game.name / folder_name(algorithm.name)
    folder.mkdir(parents=True, exist_ok=True)
    keep_options(folder / "options.json", asdict(options), FREE_OPTIONS)
    training, actions = algorithm.training, options.settings.num_actions(game)
    lag = max(1, training.lag)
    # Compiled once for all lives of one length.
    programs = cache(partial(make_programs, algorithm.learner, actions, training.atari, lag=lag))

    def live(total_frames: int, arm: Arm, seed: int, place: str) -> list[dict[str, Any]]:
        n = options.num_updates(total_frames, fresh)
        return run_agent(programs(n), game, options, arm, seed, n, folder / place, on_progress)

    chosen, said = _choose(live, options, f"{algorithm.name} on {game.name}")
    lives = [live(options.frames, chosen, seed, f"seed{seed}") for seed in range(options.seeds)]
    path = run_dir / "videos" / f"{game.name}-{folder.name}.gif"
    own = programs(options.num_updates(options.frames, fresh))
    _video(own, game, options, chosen, folder, path)
    return Result.of(
        as_curve(lives),
        options.steps_per_update(fresh),
        suite="atari",
        env=game.name,
        algorithm=algorithm.name,
        learning_rate=chosen[0],
        prediction_cost=chosen[1],
        num_envs=options.settings.num_envs,
        gamma=options.gamma,
        reward_scale=1.0,
        **said,
        random_return=game.random,
        reference_return=game.human,
    )


def _choose(
    live: Callable[..., Any], options: AtariOptions, who: str
) -> tuple[Arm, dict[str, Any]]:
    """By one agent an arm, where there are several."""
    arms = list(product(options.learning_rates, options.prediction_costs))

    def trials() -> Curve:
        each = enumerate(arms)
        frames = options.selection_frames
        return as_curve([live(frames, arm, SELECTION_SEED, f"arm{i}") for i, arm in each])

    return choose(arms, trials, who)


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
                line = _line(game, options, done, interval, programs, state)
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


def _line(
    game: Game,
    options: AtariOptions,
    done: int,
    interval: Interval,
    programs: Programs,
    state: AtariState,
) -> dict[str, Any]:
    scores = [episode.score for episode in interval.episodes]
    each = options.steps_per_update(programs.learner.fresh) * FRAMES_PER_STEP
    score = float(np.mean(scores)) if scores else None
    line = {
        "update": done,
        "frames": done * each,
        "episodes": len(scores),
        "score": score,
        "human_normalised": None if score is None else game.human_normalised(score),
        "reward_per_step": interval.reward_per_step,
        "updates": interval.updates,
        "seconds": round(interval.seconds, 3),
        "frames_per_second": round(interval.updates * each / interval.seconds),
    }
    trace = jax.device_get(programs.learner.trace(state.learner))
    named = by_name({name: np.asarray(x)[None] for name, x in trace.items()})
    return line | ({"traces": {name: float(x[0]) for name, x in named.items()}} if named else {})


def as_curve(lives: list[list[dict[str, Any]]]) -> Curve:
    """Lives by their lines, which all have at the same updates; return is the game's score."""

    def of_all(name: str) -> np.ndarray:
        return np.array([[line[name] for line in life] for life in lives], float).T

    updates = np.array([line["update"] for line in lives[0]])
    traces = {
        name: np.array([[line["traces"][name] for line in life] for life in lives], float).T
        for name in lives[0][0].get("traces", ())
    }
    finite = np.zeros(len(lives), bool)
    return Curve(updates, of_all("reward_per_step"), of_all("score"), finite, traces)


def _video(
    programs: Programs,
    game: Game,
    options: AtariOptions,
    arm: Arm,
    folder: Path,
    path: Path,
) -> None:
    if not options.video_steps or path.exists():
        return
    state = newborn(programs, 0, hypers(*arm, options.gamma))
    restored = Checkpoints(folder / "seed0").restore_newest(jax.eval_shape(lambda: state))
    if restored is not None:
        record(programs, restored.state, game, options.settings, options.video_steps, path)
