"""Interactions per second of fresh agents under a frozen rule and under A2C.

python scripts/bench_metatest.py --envs dense short CartPole-v1 Breakout-MinAtar
python scripts/bench_metatest.py --envs dense --agents 1 4 16
"""

import json
import statistics
import time
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from lpg.precision import Precision
from lpg.rule import Hypers
from metatest.algorithms import Algorithm, AlgorithmOptions, choose
from metatest.evaluate import Budget, make_task
from metatest.tasks import find_task
from metatest.train_agent import born, run_updates


@dataclass(frozen=True)
class Benchmark:
    rule: str = "lpg-15"
    """A rule file or the name of a shipped one."""
    envs: tuple[str, ...] = ("dense", "CartPole-v1", "Breakout-MinAtar")
    """As metatest takes them."""
    agents: tuple[int, ...] = (8,)
    """Agents trained at once, of 64 environments each."""
    updates: int = 5
    """Agent updates of one timed call."""
    precision: Precision = "auto"
    """Of the rule's LSTM."""


def measure(algorithm: Algorithm, name: str, num_agents: int, updates: int) -> dict[str, object]:
    spec, budget = find_task(name), Budget(num_envs=64)
    task = make_task(algorithm, spec, budget)
    value = jnp.full((num_agents,), spec.learning_rates[0], jnp.float32)
    hypers = Hypers(value, jnp.full_like(value, 0.5), jnp.full_like(value, 0.995))
    lives = jax.vmap(partial(born, task))(jax.random.split(jax.random.key(0), num_agents), hypers)
    program = jax.jit(partial(run_updates, task), donate_argnums=0)
    seconds = []
    for _ in range(4):
        started = time.perf_counter()
        lives, _ = jax.block_until_ready(program(lives, jnp.int32(updates)))
        seconds.append(time.perf_counter() - started)
    step = statistics.median(seconds[1:])
    interactions = updates * num_agents * task.num_envs * task.num_steps
    return {
        "env": name,
        "algorithm": algorithm.name,
        "agents": num_agents,
        "compile_s": round(seconds[0] - step, 1),
        "ms_per_update": round(step / updates * 1e3, 2),
        "interactions_per_s": round(interactions / step),
        "parameters": int(np.sum([x[0].size for x in jax.tree.leaves(lives.learner.agent.params)])),
    }


def main() -> None:
    benchmark = tyro.cli(Benchmark)
    algorithms = choose((benchmark.rule, "a2c"), AlgorithmOptions(precision=benchmark.precision))
    rows = [
        measure(algorithm, name, num_agents, benchmark.updates)
        for name in benchmark.envs
        for num_agents in benchmark.agents
        for algorithm in algorithms
    ]
    print(" | ".join(rows[0]))
    for row in rows:
        print(" | ".join(str(v) for v in row.values()))
    print(json.dumps({"device": jax.devices()[0].device_kind, "rows": rows}))


if __name__ == "__main__":
    main()
