"""Where a meta-step's time goes, from engines that leave a stage out."""

import statistics
from dataclasses import asdict
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from timing import seconds_by_turns

from lpg.rule import RuleInputs, RuleParams
from lpg.rules.lpg import LPG, LPGTargets
from metatrain.engine import Engine, Windows
from metatrain.shares import unmeasured
from metatrain.window import carries, learn_and_act, window_loss


class FreeRule(LPG):
    """Targets in proportion to what is read: gradients reach everything, no LSTM runs."""

    def targets(self, rule_params: RuleParams, inputs: RuleInputs) -> LPGTargets:
        scale = 1.0 + sum(x.reshape(-1)[0] for x in jax.tree.leaves(rule_params))
        pi_hat = scale * inputs.reward * inputs.action_prob
        return LPGTargets(pi_hat, y_hat_logits=scale * inputs.prediction[:-1])


class ForwardOnly(Engine):
    """Windows without their derivative."""

    def window_gradient(self, rule_params, lifetimes, keys, bounds):
        shares = unmeasured(bounds, keys)
        loss, (lifetimes, reports) = window_loss(
            self.rule, self.config, self.cohorts, rule_params, lifetimes, keys, shares
        )
        norms = tuple(share.tap.T for share in shares)
        grads = jax.tree.map(lambda p: jnp.full_like(p, loss), rule_params)
        return grads, Windows(lifetimes, reports, norms)


class NoWindow(Engine):
    """Adam, the bandit, births and metrics; lifetimes only grow older."""

    def window_gradient(self, rule_params, lifetimes, keys, bounds):
        shapes = jax.eval_shape(super().window_gradient, rule_params, lifetimes, keys, bounds)
        # Ones: policies without entropy would count as converged, and all lives as over.
        grads, windows = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), shapes)
        return grads, windows._replace(lifetimes=lifetimes)


class RolloutsOnly(NoWindow):
    """Agents that act and critics that learn from it."""

    def window_gradient(self, rule_params, lifetimes, keys, bounds):
        def update(carry, step_keys):
            moved = tuple(
                jax.vmap(partial(learn_and_act, cohort, self.config))(*args)[0]
                for cohort, *args in zip(
                    self.cohorts, lifetimes, carry, (x.agent for x in carry), step_keys, strict=True
                )
            )
            return moved, None

        split = jax.vmap(lambda key: jax.random.split(key, self.config.num_updates), out_axes=1)
        carry, _ = jax.lax.scan(update, carries(lifetimes), tuple(map(split, keys)))
        lifetimes = tuple(
            lifetime._replace(**after._asdict())
            for lifetime, after in zip(lifetimes, carry, strict=True)
        )
        return super().window_gradient(rule_params, lifetimes, keys, bounds)


def stage_seconds(engine: Engine, calls: int, meta_steps: int) -> dict[str, float]:
    """Seconds of a meta-step in each stage: medians over `calls` rounds of every variant's time
    less its neighbour's. Devices and chunks are the engine's.

    Raises ValueError for a rule that is not LPG: only that has a variant which costs nothing.
    """
    if not isinstance(engine.rule, LPG):
        raise ValueError("Stages can only be told apart with the rule LPG.")
    free = FreeRule(**asdict(engine.rule))
    devices = list(engine.mesh.devices.flat)

    def variant(kind: type[Engine], rule: LPG) -> Engine:
        return kind(rule, engine.config, engine.cohorts, devices, engine.num_chunks)

    variants = {
        "whole": engine,  # whose program may be compiled already
        "forward": variant(ForwardOnly, engine.rule),
        "free whole": variant(Engine, free),
        "free forward": variant(ForwardOnly, free),
        "rollouts": variant(RolloutsOnly, engine.rule),
        "nothing": variant(NoWindow, engine.rule),
    }

    def program(variant: Engine) -> Any:
        state = None

        def run() -> Any:
            nonlocal state
            before = variant.init(jax.random.key(0)) if state is None else state
            state, metrics = variant.run(before, meta_steps)
            return metrics

        return run

    programs = {name: program(variant) for name, variant in variants.items()}
    rounds = [
        {name: seconds / meta_steps for name, seconds in one.items()}
        for one in seconds_by_turns(programs, calls)
    ]
    stages = [
        {
            "rollouts and critics": s["rollouts"] - s["nothing"],
            "rule forward": s["forward"] - s["free forward"],
            "rule backward": s["whole"] - s["forward"] - s["free whole"] + s["free forward"],
            "agents and outer loss, forward": s["free forward"] - s["rollouts"],
            "agents and outer loss, backward": s["free whole"] - s["free forward"],
            "Adam, bandit, births, metrics": s["nothing"],
        }
        for s in rounds
    ]
    return {name: statistics.median(one[name] for one in stages) for name in stages[0]}
