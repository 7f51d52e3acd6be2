"""What is left of Atari's agents at the end of their lives: a video, and files where asked for."""

from functools import partial
from pathlib import Path

import jax

from lpg.agents.nature_network import SCREEN
from lpg.runs.checkpoint import Checkpoints
from metatest import agents
from metatest.agents import TrainedAgent, agent_file, digest
from metatest.atari.taking_up import AtariRun
from metatest.atari.train import AtariState, Programs, hypers, newborn
from metatest.atari.video import record
from metatest.gif import is_of
from metatest.save_agents import made_by, video_file
from metatest.train_agent import acting
from metatest.training import Arm


def final_state(programs: Programs, folder: Path) -> AtariState:
    """Of the life in `folder`, which is over, by its newest checkpoint."""
    like = jax.eval_shape(partial(newborn, programs, 0, hypers(0.0, 0.0, 0.0)))
    found = Checkpoints(folder).restore_newest(like)
    assert found is not None, "a life ends with a checkpoint"
    return found.state


def film_first(programs: Programs, run: AtariRun) -> None:
    """The agent of the first seed at play, unless there is such a video."""
    steps = run.options.video_steps
    if not steps:
        return
    state = final_state(programs, run.folder / "seed0")
    path = video_file(run.run_dir, run.game.name, run.algorithm.name)
    shows = f"{steps} steps of the agent sha256 {digest(state.learner.agent.params)}"
    if not is_of(path, shows):
        record(programs, state, run.game, run.options.settings, steps, path, shows)


def save_all(programs: Programs, run: AtariRun, arm: Arm) -> None:
    """A file an agent, of every seed."""
    options, name = run.options, run.algorithm.name
    each = options.steps_per_update(programs.learner.fresh)
    for seed in range(options.seeds):
        state = final_state(programs, run.folder / f"seed{seed}")
        actor = acting(programs.learner, state.learner)
        about = {
            "suite": "atari",
            "environment": run.game.name,
            **made_by(run.algorithm, arm, seed, int(state.update) * each),
            "network": run.algorithm.training.atari.torso,
            "observation_shape": SCREEN,
            "num_states": 0,
            "num_envs": options.settings.num_envs,
        }
        trained = TrainedAgent(
            programs.body._replace(condition=actor.condition), actor.params, about
        )
        agents.save(agent_file(run.run_dir, run.game.name, name, seed), trained)
