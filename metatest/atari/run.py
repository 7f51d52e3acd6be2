"""Runs of Atari games that can be stopped and continued, one after the other.

A run's folder holds checkpoints, `metrics.jsonl` and, when done, nothing more to do: a sweep asks
for all 57 games again and only the missing ones are played.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax

from lpg.runs.checkpoint import Checkpoints
from lpg.runs.resume import forget_after
from lpg.runs.signals import Stopped, stop_signals
from metatest.atari.env import AtariEnv
from metatest.atari.events import Events, OnProgress
from metatest.atari.final_agents import film_first, save_all
from metatest.atari.games import Game
from metatest.atari.lines import log_line
from metatest.atari.lives import Life, chosen_arm, reported, stages
from metatest.atari.options import AtariOptions
from metatest.atari.taking_up import AtariRun
from metatest.atari.train import (
    AtariState,
    Programs,
    hypers,
    make_programs,
    newborn,
    play_and_learn,
)
from metatest.curve import Curve
from metatest.report.results import Result, folder_name
from metatest.training import Arm


def evaluate_atari(
    run: AtariRun,
    on_progress: OnProgress = lambda updates, record: None,
    save_agents: bool = False,
) -> Result:
    """Choose an arm where there are several, then train `seeds` agents; resumes what it finds.

    Args:
        save_agents: leave the agents as files.

    Raises ValueError where the folder holds a run of other options, EmulatorError where an emulator
    hangs or dies, FloatingPointError where all agents diverged, Stopped after a signal.
    """
    run.keep_options()
    programs, lives = programs_of(run), []
    for lives in stages(run):
        for life in lives:
            live(run, life, programs(life.num_updates), on_progress)
    found = reported(run, lives)
    ended, (chosen, said) = programs(lives[0].num_updates), chosen_arm(run)
    film_first(ended, run)
    if save_agents:
        save_all(ended, run, chosen)
    return _result(run, found, chosen, said)


def programs_of(run: AtariRun) -> Callable[[int], Programs]:
    """By a life's number of updates; compiled once for all lives of one length."""
    algorithm, actions = run.algorithm, run.options.settings.num_actions(run.game)
    training = algorithm.training.atari
    return cache(partial(make_programs, algorithm.learner, actions, training, lag=run.lag))


def live(
    run: AtariRun,
    life: Life,
    programs: Programs,
    on_progress: OnProgress,
    stopping: AbstractContextManager[list[int]] | None = None,
) -> None:
    """One life to its end, from its newest checkpoint where it has one; as `run_agent` does."""
    options, seed, folder = run.options, run.draws(life.place), run.folder / life.name
    place = run.game.name, folder_name(run.algorithm.name), life.name
    events = Events(run.run_dir.joinpath("tensorboard", *place), on_progress)
    n = life.num_updates
    try:
        run_agent(programs, run.game, options, life.arm, seed, n, folder, events, stopping)
    finally:
        events.close()


def _result(run: AtariRun, curve: Curve, chosen: Arm, said: dict[str, Any]) -> Result:
    options, algorithm = run.options, run.algorithm
    return Result.of(
        curve,
        options.steps_per_update(algorithm.learner.fresh),
        suite="atari",
        env=run.game.name,
        algorithm=algorithm.name,
        learning_rate=chosen[0],
        prediction_cost=chosen[1],
        num_envs=options.settings.num_envs,
        gamma=options.gamma,
        reward_scale=1.0,
        **said,
        random_return=run.game.random,
        reference_return=run.game.human,
        version=algorithm.version,
    )


def run_agent(
    programs: Programs,
    game: Game,
    options: AtariOptions,
    arm: Arm,
    seed: int,
    num_updates: int,
    folder: Path,
    on_progress: OnProgress,
    stopping: AbstractContextManager[list[int]] | None = None,
) -> list[dict[str, Any]]:
    """One agent's lines of metrics.jsonl, from the first update to the last; saved and left once
    there is something in the list of `stopping`, or after a signal where that is not given.

    Raises EmulatorError as `AtariEnv` does, Stopped where it was left.
    """
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
        with stopping or stop_signals() as stop, log.open("a") as file:
            for after, line in _intervals(programs, game, options, state, env, num_updates, stop):
                lines.append(line)
                file.write(json.dumps(line) + "\n")
                file.flush()
                on_progress(line["updates"], line)
                done = line["update"]
                if done % options.checkpoint_every == 0 or done == num_updates or stop:
                    checkpoints.save(done, after._replace(kept=()))
            if done < num_updates:
                raise Stopped
    finally:
        env.close()
    return lines


def _intervals(
    programs: Programs,
    game: Game,
    options: AtariOptions,
    state: AtariState,
    env: AtariEnv,
    num_updates: int,
    stop: Sequence[int],
) -> Iterator[tuple[AtariState, dict[str, Any]]]:
    """The state at every line of metrics.jsonl and at every checkpoint, with its line."""
    done = int(state.update)
    while done < num_updates and not stop:
        step = min(
            options.log_every - done % options.log_every,
            options.checkpoint_every - done % options.checkpoint_every,
            num_updates - done,
        )
        state, interval = play_and_learn(programs, state, env, step, options.num_steps, stop)
        done += interval.updates
        yield state, log_line(game, options, done, interval, programs, state)
