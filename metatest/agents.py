"""Trained agents as files, which `metatest --save-agents` leaves, and how they act again.

    trained = agents.load("runs/test/agents/short/lpg/seed0.safetensors")
    env, env_params = trained.world()
    logits = trained.policy(observations)

A file is plain arrays, theta above all, and a JSON header that says what the agent is and how it
came to be.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from lpg.agent import Agent, AgentParams, Body
from lpg.agents.make import make_agent
from lpg.files.storage import hexdigest_of, write_atomically
from lpg.heads import Heads
from lpg.instance import for_parallel, has_instances
from metatest.atari.train import TORSOS
from metatest.report.results import folder_name
from metatest.tasks import find_task

FORMAT, VERSION = "lpg-agent", "1"


class AgentFileError(ValueError):
    """A file that holds no agent; the message names cause and remedy."""


class TrainedAgent(NamedTuple):
    """An agent at the end of its life."""

    body: Body  # the network in its world, told what it was told last
    params: AgentParams  # theta
    # What it is: environment, suite, algorithm, version (of a learned rule its digest), arm, life,
    # steps, network, heads, observation_shape, num_states, num_envs.
    about: dict[str, Any]
    instance: tuple[Array, ...] = ()  # leaves of its own world's params, where lives have such

    def policy(self, observation: Array) -> Float[Array, "*batch A"]:
        """Logits of the actions, as rollouts want them."""
        return self.body.outputs(self.params, observation).logits

    def world(self) -> tuple[Any, Any]:
        """The environment and the params that it lived in; Atari's is `metatest.atari.env`'s.

        Raises ValueError where there is no such environment.
        """
        spec = find_task(self.about["environment"])
        if has_instances(spec.env):
            tree = jax.tree.structure(spec.env_params)
            return spec.env, jax.tree.unflatten(tree, self.instance)
        return spec.env, for_parallel(spec.env, spec.env_params, self.about["num_envs"])


def agent_file(run_dir: Path, env: str, algorithm: str, seed: int) -> Path:
    """Where a run keeps the agent of a seed of an algorithm on an environment."""
    folder = run_dir.joinpath("agents", folder_name(env), folder_name(algorithm))
    return folder / f"seed{seed}.safetensors"


def save(path: Path, agent: TrainedAgent) -> None:
    """Write a file atomically; raises OSError where the disk refuses."""
    tensors = _named(agent.params) | {"action_mask": np.asarray(agent.body.action_mask)}
    if agent.body.condition is not None:
        tensors["condition"] = np.asarray(agent.body.condition)
    tensors |= {f"instance.{i}": np.asarray(x) for i, x in enumerate(agent.instance)}
    about = agent.about | {"heads": _as_json(agent.body.agent.heads)}
    metadata = {"format": FORMAT, "format_version": VERSION, "agent": json.dumps(about)}
    metadata["sha256"] = _digest(tensors, metadata["agent"])
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: np.asarray(x, order="C") for name, x in tensors.items()}
    write_atomically(path, to_bytes(tensors, metadata=metadata))


def load(path: str | Path) -> TrainedAgent:
    """The agent in a file that `save` wrote; AgentFileError for anything else."""
    tensors, about = _read(Path(path))
    try:
        agent = make_network(about)
        like = jax.eval_shape(agent.init, jax.random.key(0), jnp.int32(0))
        leaves, tree = jax.tree.flatten(like)
        found = [tensors[name] for name in _names(like)]
        if [x.shape for x in found] != [x.shape for x in leaves]:
            raise ValueError("its arrays have other shapes than its header says")
        instance = sum(name.startswith("instance.") for name in tensors)
        condition = tensors.get("condition")
        return TrainedAgent(
            Body(agent, tensors["action_mask"], condition),
            jax.tree.unflatten(tree, found),
            about,
            tuple(tensors[f"instance.{i}"] for i in range(instance)),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise AgentFileError(
            f"{path} holds no agent that this version knows ({error}); load it with the version "
            "that wrote it."
        ) from error


def make_network(about: dict[str, Any]) -> Agent:
    """The network by what a file's header says of it."""
    heads = _heads(about["heads"])
    if about["network"] in TORSOS:
        return TORSOS[about["network"]](heads)
    return make_agent(
        about["network"],
        heads,
        num_states=about["num_states"],
        observation_shape=tuple(about["observation_shape"]),
    )


def digest(params: AgentParams) -> str:
    """SHA-256 of theta."""
    return _digest(_named(params), "")


def _read(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise AgentFileError(
            f"Cannot read {path} ({error}); name a file that metatest --save-agents wrote."
        ) from error
    if (metadata.get("format"), metadata.get("format_version")) != (FORMAT, VERSION):
        raise AgentFileError(
            f"{path} holds no agent; name a file that metatest --save-agents wrote."
        )
    if metadata.get("sha256") != _digest(tensors, metadata["agent"]):
        raise AgentFileError(f"{path} does not match its checksum; take an intact copy.")
    return {name: jnp.asarray(x) for name, x in tensors.items()}, json.loads(metadata["agent"])


def _named(params: AgentParams) -> dict[str, np.ndarray]:
    each = zip(_names(params), jax.tree.leaves(params), strict=True)
    return {name: np.asarray(x) for name, x in each}


def _names(params: AgentParams) -> list[str]:
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    return [
        ".".join(filter(None, ("theta", jax.tree_util.keystr(path, simple=True, separator="."))))
        for path in paths
    ]


def _digest(tensors: dict[str, np.ndarray], text: str) -> str:
    return hexdigest_of(tensors, hashlib.sha256(text.encode()))


def _as_json(heads: Heads) -> dict[str, Any]:
    return heads._asdict() | {"auxiliary": [_as_json(head) for head in heads.auxiliary]}


def _heads(fields: dict[str, Any]) -> Heads:
    auxiliary = tuple(_heads(head) for head in fields["auxiliary"])
    return Heads(**fields | {"hidden": tuple(fields["hidden"]), "auxiliary": auxiliary})
