"""MGRL in PyTorch beside ours on CartPole-v1: environment steps per second, on the same machine.

    pip install torch gymnasium
    taskset -c 0 python scripts/bench_torch_mgrl.py

Both have one network of two layers of 64, 64 environments x 5 steps, swapped pairs, eta = {gamma,
lambda} embedded in 16 numbers, RMSProp clipped at 40 inside and Adam outside. The PyTorch agent is
written as such agents are: gymnasium's vectorised CartPole (NumPy), the update differentiated by
`autograd.grad(create_graph=True)`. Ours is one program; its lives are also run many at a time,
which a study of several seeds does. Turns alternate; figures are medians.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import torch
import tyro
from bench_tuning import make
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import one_hot

from metatest.train_agent import run_updates

LEARNING_RATE, MAX_NORM, DECAY, EPSILON = 6e-3, 40.0, 0.99, 0.1
ENTROPY_COST, VALUE_COST, REFERENCE = 0.01, 0.25, (0.995, 1.0)


@dataclass(frozen=True)
class Benchmark:
    """By turns."""

    num_envs: int = 64
    num_steps: int = 5
    lives: tuple[int, ...] = (1, 5, 64)
    """Of ours, at once."""
    rounds: int = 5
    updates: int = 100
    """Pairs of trajectories in a turn."""


def main() -> None:
    benchmark = tyro.cli(Benchmark)
    torch.set_num_threads(1)
    turns = {"torch": torch_turn(benchmark)}
    turns |= {f"ours, {n} at once": our_turn(benchmark, n) for n in benchmark.lives}
    rates: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(benchmark.rounds):
        for name, turn in turns.items():
            rates[name].append(turn())
    middle = {name: round(statistics.median(values)) for name, values in rates.items()}
    print(json.dumps({"steps_per_second": middle} | ratios(middle)))


def ratios(middle: dict[str, int]) -> dict[str, Any]:
    """Of ours to torch's."""
    return {"ratio": {k: round(v / middle["torch"], 1) for k, v in middle.items() if k != "torch"}}


def our_turn(benchmark: Benchmark, lives: int) -> Callable[[], float]:
    """Steps per second of all lives together."""
    task, state = make("CartPole-v1", "mgrl", lives, benchmark.num_envs, benchmark.num_steps)
    program = jax.jit(partial(run_updates, task))

    def turn() -> float:
        started = time.perf_counter()
        jax.block_until_ready(program(state, jnp.int32(benchmark.updates)))
        steps = benchmark.updates * task.steps_per_update * lives
        return steps / (time.perf_counter() - started)

    turn()
    return turn


class Network(torch.nn.Module):
    """Policy and value, told eta."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.torso = torch.nn.Sequential(
            torch.nn.Linear(4, width),
            torch.nn.ReLU(),
            torch.nn.Linear(width, width),
            torch.nn.ReLU(),
        )
        self.embedding = torch.nn.Linear(2, 16, bias=False)
        self.conditioned = torch.nn.Linear(width + 16, width)
        self.heads = torch.nn.Linear(width, 3)

    def forward(self, observation: Tensor, eta: Tensor) -> tuple[Tensor, Tensor]:
        features = self.torso(observation)
        told = self.embedding(eta).expand(*features.shape[:-1], 16)
        out = self.heads(torch.relu(self.conditioned(torch.cat([features, told], -1))))
        return out[..., :2], out[..., 2]


class TorchMGRL:
    """An agent with what it is in the midst of."""

    def __init__(self, num_envs: int) -> None:
        torch.manual_seed(0)
        self.network = Network()
        self.params = {k: v.detach() for k, v in self.network.named_parameters()}
        self.square = {k: torch.ones_like(v) for k, v in self.params.items()}
        self.raw = torch.tensor([5.293, 4.6], requires_grad=True)
        self.adam = torch.optim.Adam([self.raw], lr=1e-3)
        mode = gymnasium.VectorizeMode.VECTOR_ENTRY_POINT
        self.env = gymnasium.make_vec("CartPole-v1", num_envs, vectorization_mode=mode)
        self.observation, _ = self.env.reset(seed=0)

    def eta(self) -> Tensor:
        return torch.sigmoid(self.raw)

    @torch.no_grad()
    def act(self, num_steps: int) -> dict[str, Tensor]:
        eta, rows = self.eta(), []
        for _ in range(num_steps):
            observation = torch.as_tensor(self.observation, dtype=torch.float32)
            logits, _ = functional_call(self.network, self.params, (observation, eta))
            policy = torch.distributions.Categorical(logits=logits)
            action = policy.sample()
            self.observation, reward, terminated, truncated, _ = self.env.step(action.numpy())
            done = torch.as_tensor(terminated | truncated, dtype=torch.float32)
            reward = 0.1 * torch.as_tensor(reward, dtype=torch.float32)
            rows.append((observation, action, reward, 1 - done, policy.log_prob(action)))
        names = ("observation", "action", "reward", "not_done", "log_mu")
        batch = {k: torch.stack(x) for k, x in zip(names, zip(*rows, strict=True), strict=True)}
        last = torch.as_tensor(self.observation, dtype=torch.float32)
        batch["observation"] = torch.cat([batch["observation"], last[None]])
        return batch

    def tune(self, inner: dict[str, Tensor], outer: dict[str, Tensor]) -> None:
        eta = self.eta()
        params = {k: v.requires_grad_() for k, v in self.params.items()}
        logits, value = functional_call(self.network, params, (inner["observation"], eta.detach()))
        target, advantage, log_prob, policy = self.vtrace(logits, value, inner, eta)
        entropy = -(policy * torch.log(policy + 1e-8)).sum(-1)
        loss = (
            VALUE_COST * (target - value[:-1]) ** 2 - advantage * log_prob - ENTROPY_COST * entropy
        ).sum()
        grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
        norm = torch.sqrt(sum((g.detach() ** 2).sum() for g in grads))
        factor = MAX_NORM / torch.clamp(norm, min=MAX_NORM)
        after, square = {}, {}
        for (name, old), grad in zip(params.items(), grads, strict=True):
            grad = grad * factor
            square[name] = DECAY * self.square[name] + (1 - DECAY) * grad**2
            after[name] = old - LEARNING_RATE * grad / torch.sqrt(square[name] + EPSILON)
        reference = torch.tensor(REFERENCE)
        logits, value = functional_call(self.network, after, (outer["observation"], reference))
        _, advantage, log_prob, _ = self.vtrace(logits, value.detach(), outer, reference)
        outer_loss = -(advantage.detach() * log_prob).sum()
        self.adam.zero_grad()
        (self.raw.grad,) = torch.autograd.grad(outer_loss, [self.raw])
        self.adam.step()
        self.params = {k: v.detach() for k, v in after.items()}
        self.square = {k: v.detach() for k, v in square.items()}

    def vtrace(
        self, logits: Tensor, value: Tensor, batch: dict[str, Tensor], eta: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Targets and advantages, differentiable in eta alone, and what the policy says."""
        log_policy = torch.log_softmax(logits[:-1], -1)
        log_prob = (log_policy * one_hot(batch["action"], 2)).sum(-1)
        rho = torch.clamp(torch.exp(log_prob.detach() - batch["log_mu"]), max=1.0)
        value = value.detach()
        gamma, lam = eta[0], eta[1]
        discount = gamma * batch["not_done"]
        delta = rho * (batch["reward"] + discount * value[1:] - value[:-1])
        correction, corrections = torch.zeros_like(delta[0]), []
        for t in reversed(range(len(delta))):
            correction = delta[t] + discount[t] * lam * rho[t] * correction
            corrections.append(correction)
        target = value[:-1] + torch.stack(corrections[::-1])
        following = torch.cat([target[1:], value[-1:]])
        mixed = lam * following + (1 - lam) * value[1:]
        advantage = rho * (batch["reward"] + discount * mixed - value[:-1])
        return target, advantage, log_prob, log_policy.exp()


def torch_turn(benchmark: Benchmark) -> Callable[[], float]:
    """Steps per second of one agent."""
    agent = TorchMGRL(benchmark.num_envs)

    def turn() -> float:
        started = time.perf_counter()
        for _ in range(benchmark.updates):
            first, second = agent.act(benchmark.num_steps), agent.act(benchmark.num_steps)
            agent.tune(first, second)
            agent.tune(second, first)
        steps = 2 * benchmark.updates * benchmark.num_steps * benchmark.num_envs
        return steps / (time.perf_counter() - started)

    turn()
    return turn


if __name__ == "__main__":
    np.random.seed(0)
    main()
