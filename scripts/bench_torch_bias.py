"""Meta-gradient estimates in plain PyTorch beside ours: estimates per second, by turns.

    pip install torch
    taskset -c 0 python scripts/bench_torch_bias.py

Both estimate the MAML meta-gradient of a random tabular MDP (20 states, 5 actions, T = 20, K = 1,
n trajectories a role, values by linear solve with noise) by LVC with every role sampled. `loop` is
PyTorch as such studies are written first, one trajectory and one step at a time; `batched` has
all trajectories of a role in one tensor. Turns alternate; figures are medians. That all three
estimate the same is told by `acc`: their mean cosine to the exact meta-gradient of one MDP, and its
standard error.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
import torch
import tyro
from torch import Tensor

from envs.tabular_mdp import sample_mdp
from metatrain.bias.accuracy import Setting, cosine, measure
from metatrain.bias.decomposition import meta_gradient
from metatrain.bias.exact import exact_meta_gradient, maml

NUM_STEPS, GAMMA, RATE = 20, 0.8, 10.0


@dataclass(frozen=True)
class Benchmark:
    """By turns."""

    trajectories: int = 16
    estimates: int = 2
    """Of the loop in a turn."""
    mdps: int = 10
    repeats: int = 20
    """Ours estimates on all MDPs as often as that in a turn; the batched PyTorch as often on
    one."""
    rounds: int = 5


class World:
    """One MDP as tensors of float64."""

    def __init__(self, seed: int):
        with jax.enable_x64(True):
            self.mdp = sample_mdp(jax.random.key(seed))
        self.transition = torch.tensor(np.asarray(self.mdp.transition))
        self.reward = torch.tensor(np.asarray(self.mdp.reward))
        self.cumulative = self.transition.cumsum(-1)

    def value(self, theta: Tensor) -> Tensor:
        """Exact, with the study's noise."""
        policy = theta.detach().softmax(-1)
        step = torch.einsum("sa,sat->st", policy, self.transition)
        paid = (policy * self.reward).sum(-1)
        value = torch.linalg.solve(torch.eye(len(paid), dtype=paid.dtype) - GAMMA * step, paid)
        return value + value.norm() / len(value) * torch.randn_like(value)


def loop_surrogate(world: World, theta: Tensor, n: int) -> Tensor:
    """LVC's, a step at a time."""
    value, total = world.value(theta), torch.zeros((), dtype=theta.dtype)
    for _ in range(n):
        state, path = 0, []
        for _ in range(NUM_STEPS):
            action = int(torch.multinomial(theta.detach()[state].softmax(-1), 1))
            path.append((state, action))
            state = int(torch.multinomial(world.transition[state, action], 1))
        ahead = value[state]
        for t in reversed(range(NUM_STEPS)):
            at, action = path[t]
            ahead = world.reward[at, action] + GAMMA * ahead
            log_prob = theta[at].log_softmax(-1)[action]
            weight = (log_prob - log_prob.detach()).exp() - 1
            total = total + GAMMA**t * (ahead - value[at]) * weight / n
    return total


def batched_surrogate(world: World, theta: Tensor, n: int) -> Tensor:
    """LVC's, a tensor of trajectories at a time."""
    value, acting = world.value(theta), theta.detach().softmax(-1).cumsum(-1)
    state, states, actions = torch.zeros(n, dtype=torch.long), [], []
    last_action, last_state = theta.shape[1] - 1, theta.shape[0] - 1
    for _ in range(NUM_STEPS):
        uniform = torch.rand(2, n, 1, dtype=theta.dtype)
        action = (acting[state] <= uniform[0]).sum(-1).clamp(max=last_action)
        states.append(state)
        actions.append(action)
        moving = world.cumulative[state, action]
        state = (moving <= uniform[1]).sum(-1).clamp(max=last_state)
    at, action = torch.stack(states), torch.stack(actions)
    reward, ahead, returns = world.reward[at, action], value[state], []
    for t in reversed(range(NUM_STEPS)):
        ahead = reward[t] + GAMMA * ahead
        returns.append(ahead)
    advantage = torch.stack(returns[::-1]) - value[at]
    log_prob = theta.log_softmax(-1)[at, action]
    weight = (log_prob - log_prob.detach()).exp() - 1
    discount = GAMMA ** torch.arange(NUM_STEPS, dtype=theta.dtype)[:, None]
    return (discount * advantage * weight).sum(0).mean()


def torch_estimate(
    world: World, surrogate: Callable[[World, Tensor, int], Tensor], n: int
) -> np.ndarray:
    """theta' has its value from one estimate and its derivative from another, as in ours."""
    theta = torch.zeros_like(world.reward, requires_grad=True)
    value = torch.autograd.grad(surrogate(world, theta, n), theta)[0]
    slope = torch.autograd.grad(surrogate(world, theta, n), theta, create_graph=True)[0]
    moved = theta + RATE * slope
    after = (theta + RATE * value).detach() + moved - moved.detach()
    outer = torch.autograd.grad(surrogate(world, after, n), theta)[0]
    assert torch.isfinite(outer).all()
    return outer.numpy()


def accuracies(world: World, setting: Setting) -> dict[str, tuple[float, float]]:
    """Mean cosines to the exact meta-gradient, with standard errors."""
    n, start = setting.trajectories, np.zeros(world.reward.shape)
    with jax.enable_x64(True):
        sizes = {"num_updates": 1, "num_trajectories": n}
        estimate = partial(meta_gradient, meaning=maml, mdp=world.mdp, phi=start, **sizes)
        keys = jax.random.split(jax.random.key(1), 400)
        ours = jax.jit(jax.vmap(lambda k: estimate(k, condition=setting.condition)))(keys)
        true = exact_meta_gradient(maml, world.mdp, start, 1, RATE).ravel()
    found = {
        "loop": [torch_estimate(world, loop_surrogate, n) for _ in range(40)],
        "batched": [torch_estimate(world, batched_surrogate, n) for _ in range(400)],
        "ours": np.asarray(ours.meta_gradient),
    }
    told = {}
    for name, estimates in found.items():
        with jax.enable_x64(True):
            each = [float(cosine(np.ravel(x), true)) for x in estimates]
        error = np.std(each, ddof=1) / np.sqrt(len(each))
        told[name] = round(float(np.mean(each)), 3), round(float(error), 3)
    return told


def main() -> None:
    benchmark = tyro.cli(Benchmark)
    torch.set_num_threads(1)
    n, world = benchmark.trajectories, World(0)
    setting = Setting(
        estimator="lvc", trajectories=n, mdps=benchmark.mdps, repeats=benchmark.repeats
    )

    def ours() -> int:
        with jax.enable_x64(True):
            measure(setting)
        return setting.mdps * setting.repeats

    def theirs(surrogate: Callable[[World, Tensor, int], Tensor], times: int) -> int:
        for _ in range(times):
            torch_estimate(world, surrogate, n)
        return times

    turns = {
        "loop": lambda: theirs(loop_surrogate, benchmark.estimates),
        "batched": lambda: theirs(batched_surrogate, benchmark.repeats),
        "ours": ours,
    }
    rates: dict[str, list[float]] = {name: [] for name in turns}
    for i in range(benchmark.rounds + 1):  # the first one compiles
        for name, turn in turns.items():
            started = time.process_time()
            done = turn()
            if i > 0:
                rates[name].append(done / (time.process_time() - started))
    middle = {name: statistics.median(values) for name, values in rates.items()}
    ratio = {name: round(middle["ours"] / middle[name], 1) for name in ("loop", "batched")}
    told = {name: round(value, 2) for name, value in middle.items()}
    acc = accuracies(world, setting)
    print(json.dumps({"estimates_per_cpu_second": told, "ratio": ratio, "acc": acc}))


if __name__ == "__main__":
    main()
