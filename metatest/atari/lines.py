"""Lines of an Atari run's metrics.jsonl, and what the lines of several lives make together."""

from typing import Any

import jax
import numpy as np

from metatest.atari.env import FRAMES_PER_STEP
from metatest.atari.games import Game
from metatest.atari.options import AtariOptions
from metatest.atari.train import AtariState, Interval, Programs
from metatest.curve import Curve, by_name
from metatest.train_agent import has_diverged

_has_diverged = jax.jit(has_diverged)


def log_line(
    game: Game,
    options: AtariOptions,
    done: int,
    interval: Interval,
    programs: Programs,
    state: AtariState,
) -> dict[str, Any]:
    """Of the interval that ended with `done` updates."""
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
        "diverged": bool(_has_diverged(state.learner)),
    }
    trace = jax.device_get(programs.learner.trace(state.learner))
    named = by_name({name: np.asarray(x)[None] for name, x in trace.items()})
    return line | ({"traces": {name: float(x[0]) for name, x in named.items()}} if named else {})


def as_curve(lives: list[list[dict[str, Any]]]) -> Curve:
    """Lives by their lines at the updates that all of them have; return is the game's score.

    Lives of one length have others where some had ended before it was raised, or where lines were
    written at other intervals.
    """
    common = sorted(set.intersection(*({line["update"] for line in life} for life in lives)))
    joined = [_joined(life, common) for life in lives]

    def of_all(name: str) -> np.ndarray:
        return np.array([[line[name] for line in life] for life in joined], float).T

    traces = {
        name: np.array([[line["traces"][name] for line in life] for life in joined], float).T
        for name in lives[0][0].get("traces", ())
    }
    # Lines of earlier versions do not say.
    ended = np.array([life[-1].get("diverged", False) for life in lives])
    updates = np.array(common)
    return Curve(updates, of_all("reward_per_step"), of_all("score"), ended, traces)


def _joined(life: list[dict[str, Any]], updates: list[int]) -> list[dict[str, Any]]:
    """A line for each of `updates`, of the lines since the one before it."""
    lines, begin = [], 0
    for update in updates:
        part = [line for line in life if begin < line["update"] <= update]
        lines.append(part[0] if len(part) == 1 else _join(part))
        begin = update
    return lines


def _join(part: list[dict[str, Any]]) -> dict[str, Any]:
    played = [line for line in part if line["episodes"]]
    episodes = [line["episodes"] for line in played]
    scores = [line["score"] for line in played]
    rewards, updates = ([line[name] for line in part] for name in ("reward_per_step", "updates"))
    return {
        **part[-1],
        "score": float(np.average(scores, weights=episodes)) if played else None,
        "reward_per_step": float(np.average(rewards, weights=updates)),
    }
