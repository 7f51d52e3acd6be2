"""Where a meta-step's time goes, from variants that leave a stage out.

    python scripts/bench_stages.py --preset paper --lifetimes 15
    python scripts/bench_stages.py --preset quick --lifetimes 40

Programs timed: the meta-step; its gradient alone; the forward pass alone; both of these with a rule
that costs nothing (so that the difference is the rule's); the rollouts alone. Lifetimes are taken
all at once, not in chunks.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import tyro
from preset_options import PresetOptions
from timing import median_seconds

from lpg.learned_rule import LPG, LPGTargets
from lpg.rule import RuleInputs, RuleParams
from metatrain.engine import Engine, EngineState
from metatrain.window import learn_and_act, learners, window_loss


class FreeRule(LPG):
    """Targets in proportion to what is read: gradients reach everything, no LSTM runs."""

    def targets(self, rule_params: RuleParams, inputs: RuleInputs) -> LPGTargets:
        scale = 1.0 + sum(x.reshape(-1)[0] for x in jax.tree.leaves(rule_params))
        pi_hat = scale * inputs.reward * inputs.action_prob
        return LPGTargets(pi_hat, y_hat_logits=scale * inputs.prediction[:-1])


@dataclass(frozen=True)
class Benchmark(PresetOptions):
    repeats: int = 5
    """Timed calls of each program after a first one."""


def programs(engine: Engine, state: EngineState) -> dict[str, Callable[[], Any]]:
    config, cohorts = engine.config, engine.cohorts
    keys = tuple(jax.vmap(lambda i: jax.random.fold_in(state.key, i))(
        c.first_index + jnp.arange(c.num_lifetimes)) for c in cohorts)  # fmt: skip

    def forward(rule, state):
        return window_loss(rule, config, cohorts, state.rule_params, state.lifetimes, keys)

    def gradient(rule, state):
        return jax.grad(
            lambda p: forward(rule, state._replace(rule_params=p)), has_aux=True
        )(state.rule_params)  # fmt: skip

    def rollouts(state):
        def update(carry, _):
            moved = [
                jax.vmap(lambda *args, c=cohort: learn_and_act(c, config, *args))(
                    lifetime, learner, learner.agent, key
                )[0]
                for cohort, lifetime, learner, key in zip(
                    cohorts, state.lifetimes, carry, keys, strict=True
                )
            ]
            return tuple(moved), None

        return jax.lax.scan(update, learners(state.lifetimes), length=config.num_updates)[0]

    free = FreeRule(**asdict(config.rule))
    jitted = {
        "gradient": jax.jit(lambda s: gradient(config.rule, s)),
        "forward": jax.jit(lambda s: forward(config.rule, s)),
        "gradient, free rule": jax.jit(lambda s: gradient(free, s)),
        "forward, free rule": jax.jit(lambda s: forward(free, s)),
        "rollouts": jax.jit(rollouts),
    }
    return {name: (lambda p=program: p(state)) for name, program in jitted.items()}


def main() -> None:
    benchmark = tyro.cli(Benchmark)
    config = benchmark.config()
    if not isinstance(config.rule, LPG):
        raise SystemExit("Only presets of LPG have a variant without the rule.")
    engine = Engine(config.rule, config, devices=jax.devices()[:1], num_chunks=1)
    state = engine.init(jax.random.key(0))
    state, _ = engine.run(state, jnp.int32(2))
    seconds = {
        name: median_seconds(program, benchmark.repeats)
        for name, program in programs(engine, state).items()
    }
    holder = [state]

    def meta_step() -> Any:
        holder[0], metrics = engine.run(holder[0], jnp.int32(1))
        return metrics

    whole = median_seconds(meta_step, benchmark.repeats)
    backward = seconds["gradient"] - seconds["forward"]
    free_backward = seconds["gradient, free rule"] - seconds["forward, free rule"]
    stages = {
        "rollouts and critics": seconds["rollouts"],
        "rule forward": seconds["forward"] - seconds["forward, free rule"],
        "rule backward": backward - free_backward,
        "agents and outer loss, forward": seconds["forward, free rule"] - seconds["rollouts"],
        "agents and outer loss, backward": free_backward,
        "Adam, bandit, births, metrics": whole - seconds["gradient"],
    }
    print(f"{jax.devices()[0].device_kind}, {config.lifetimes} lifetimes: {whole:.4f} s/meta-step")
    for name, value in stages.items():
        print(f"{name:32s} {value:9.4f} s {100 * value / whole:6.1f} %")
    print(json.dumps({"whole": whole, **seconds}))


if __name__ == "__main__":
    main()
