"""What `--save-agents` leaves of lives: their agents, and the first of them at play."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lpg.agent import Body
from lpg.instance import has_instances, num_states
from metatest import agents, video
from metatest.agents import TrainedAgent, agent_file
from metatest.algorithms import Algorithm
from metatest.report.results import folder_name
from metatest.tasks import TaskSpec
from metatest.train_agent import Life, Task, acting
from metatest.training import Arm


def save_lives(
    run_dir: Path, algorithm: Algorithm, spec: TaskSpec, steps: int, task: Task, lives: Life
) -> None:
    """A file an agent, of N lives that ended after `steps` environment steps each."""
    actors = jax.vmap(partial(acting, task.learner))(lives.learner)
    worlds = tuple(jax.tree.leaves(lives.env_params)) if has_instances(task.env) else ()
    ended = jax.device_get((actors, lives.action_mask, worlds, lives.hypers))
    weighs = algorithm.training.arms(spec)[0][1] is not None  # alpha_y, or a value's weight
    for seed in range(len(lives.action_mask)):
        actor, mask, instance, hypers = jax.tree.map(lambda x, i=seed: np.asarray(x[i]), ended)
        cost = float(hypers.prediction_cost) if weighs else None
        arm = float(hypers.learning_rate), cost
        about = {
            "suite": spec.suite,
            "environment": spec.name,
            **made_by(algorithm, arm, seed, steps),
            "network": spec.agent,
            "observation_shape": spec.observation_shape,
            "num_states": num_states(spec.env),
            "num_envs": task.num_envs,
        }
        trained = TrainedAgent(
            Body(task.agent, mask, actor.condition), actor.params, about, instance
        )
        agents.save(agent_file(run_dir, spec.name, algorithm.name, seed), trained)


def made_by(algorithm: Algorithm, arm: Arm, seed: int, steps: int) -> dict[str, Any]:
    """What an agent's file says of how it was trained."""
    rate, cost = arm
    return {
        "algorithm": algorithm.name,
        "version": algorithm.version,
        "learning_rate": rate,
        "prediction_cost": cost,
        "seed": seed,
        "steps": steps,
    }


def film_first(run_dir: Path, env: str, algorithm: str) -> None:
    """The first saved agent's episodes, where its world can be drawn."""
    trained = agents.load(agent_file(run_dir, env, algorithm, 0))
    video.film(video_file(run_dir, env, algorithm), trained)


def video_file(run_dir: Path, env: str, algorithm: str) -> Path:
    """Where a report finds the play of an algorithm on an environment."""
    return run_dir / "videos" / f"{folder_name(env)}-{folder_name(algorithm)}.gif"
