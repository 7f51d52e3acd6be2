"""Runs of Atari games that can be stopped and continued, one after the other.

A run's folder holds checkpoints, `metrics.jsonl` and, when done, nothing more to do: a sweep asks
for all 57 games again and only the missing ones are played.
"""

import json
from collections.abc import Callable
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import jax

from lpg.runs.checkpoint import Checkpoints
from lpg.runs.command import Stopped, stop_signals
from lpg.runs.resume import forget_after
from metatest.atari.env import AtariEnv
from metatest.atari.final_agents import film_first, save_all
from metatest.atari.games import Game
from metatest.atari.lines import as_curve, log_line
from metatest.atari.options import AtariOptions
from metatest.atari.taking_up import SELECTION, AtariRun
from metatest.atari.train import Programs, hypers, make_programs, newborn, play_and_learn
from metatest.curve import Curve
from metatest.report.results import Result
from metatest.selection import choose
from metatest.training import Arm


def evaluate_atari(
    run: AtariRun,
    on_progress: Callable[[int, dict[str, Any]], None] = lambda updates, record: None,
    save_agents: bool = False,
) -> Result:
    """Choose an arm where there are several, then train `seeds` agents; resumes what it finds.

    Args:
        save_agents: leave the agents as files.

    Raises ValueError where the folder holds a run of other options, Stopped after a signal.
    """
    run.keep_options()
    algorithm, game, options = run.algorithm, run.game, run.options
    fresh, actions = algorithm.learner.fresh, options.settings.num_actions(game)
    # Compiled once for all lives of one length.
    programs = cache(
        partial(make_programs, algorithm.learner, actions, algorithm.training.atari, lag=run.lag)
    )

    def live(total_frames: int, arm: Arm, place: int, name: str) -> list[dict[str, Any]]:
        n = options.num_updates(total_frames, fresh)
        seed, folder = run.draws(place), run.folder / name
        return run_agent(programs(n), game, options, arm, seed, n, folder, on_progress)

    chosen, said = _choose(live, options, f"{algorithm.name} on {game.name}")
    lives = [live(options.frames, chosen, seed, f"seed{seed}") for seed in range(options.seeds)]
    ended = programs(options.num_updates(options.frames, fresh))
    film_first(ended, run)
    if save_agents:
        save_all(ended, run, chosen)
    return _result(run, as_curve(lives), chosen, said)


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


def _choose(
    live: Callable[..., Any], options: AtariOptions, who: str
) -> tuple[Arm, dict[str, Any]]:
    """By one agent an arm, where there are several."""
    arms = list(product(options.learning_rates, options.prediction_costs))

    def trials() -> Curve:
        each = enumerate(arms)
        frames = options.selection_frames
        return as_curve([live(frames, arm, SELECTION, f"arm{i}") for i, arm in each])

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
                state, interval = play_and_learn(
                    programs, state, env, step, options.num_steps, stop
                )
                done += interval.updates
                line = log_line(game, options, done, interval, programs, state)
                lines.append(line)
                file.write(json.dumps(line) + "\n")
                file.flush()
                on_progress(interval.updates, line)
                if done % options.checkpoint_every == 0 or done == num_updates or stop:
                    checkpoints.save(done, state._replace(kept=()))
            if done < num_updates:
                raise Stopped
    finally:
        env.close()
    return lines
