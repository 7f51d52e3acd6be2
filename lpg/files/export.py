"""`rule.stablehlo`: a rule's targets as one program that needs JAX, but nothing of this project.

    python -m lpg.files.export lpg-15 lpg-15.stablehlo

    exported = jax.export.deserialize(bytearray(Path("rule.stablehlo").read_bytes()))
    pi_hat, y_hat = exported.call(reward, not_done, gamma, action_prob, prediction)

The rule's parameters are inside. T steps and R rows (a row is one environment of one agent) are of
any size; everything is float32. Arguments, in this order:

    reward       [T, R]
    not_done     [T, R]        0 where the transition ended an episode, else 1
    gamma        [R]           discount factor
    action_prob  [T, R]        pi(a_t | s_t)
    prediction   [T+1, R, m]   LPG alone: logits of y(s_t), m = 30 in the published size
    value        [T+1, R, 1]   LPG-V alone: V(s_t)

Row t+1 of `prediction` and `value` belongs to the state after transition t, or to the next
episode's first. Results, [T, R] and for y_hat [T, R, m]:

    LPG    pi_hat, y_hat          y_hat a distribution: the agent minimises KL(softmax || y_hat)
    LPG-V  pi_hat, value_target   lambda-returns of V

Both ways need `pip install flatbuffers` beside JAX (`lpg-engine[export]`). The loaded program runs
on CPU, CUDA and TPU; `jax.vmap` and derivatives do not go through it: put more agents in R.
"""

import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import tyro
from jax import export

from lpg.files.loading import load
from lpg.files.storage import write_atomically
from lpg.rule import RuleInputs, RuleParams, UpdateRule
from lpg.rules.own import OwnRule
from lpg.rules.registry import LearnedRule
from lpg.runs.streams import fail

PLATFORMS = ("cpu", "cuda", "tpu")


def can_export() -> bool:
    """Whether the package is there that writes and reads exported programs."""
    return find_spec("flatbuffers") is not None


def argument_specs(rule: UpdateRule) -> dict[str, jax.ShapeDtypeStruct]:
    """The fields of `RuleInputs` that the rule's agents can fill, with T and R as symbols."""
    steps, after, rows = export.symbolic_shape("T, T + 1, R")
    heads = rule.heads(num_actions=1)
    shapes = {
        "reward": (steps, rows),
        "not_done": (steps, rows),
        "gamma": (rows,),
        "action_prob": (steps, rows),
        "prediction": (after, rows, heads.prediction),
        "value": (after, rows, heads.value),
    }
    return {
        name: jax.ShapeDtypeStruct(shape, jnp.float32)
        for name, shape in shapes.items()
        if shape[-1] != 0
    }


def exported_rule(rule: LearnedRule, rule_params: RuleParams) -> bytes:
    """The serialised program of `rule.targets`, for every platform and every T and R.

    Raises ValueError where flatbuffers is not installed, and for a rule of the user's own, whose
    results nobody named.
    """
    if isinstance(rule, OwnRule):
        raise ValueError(f"{rule.kind} cannot be exported as a program; use its rule file.")
    if not can_export():
        raise ValueError(
            "Exporting a rule needs the package flatbuffers; run pip install 'lpg-engine[export]'."
        )
    rule = replace(rule, precision="float32")  # the same targets everywhere
    constants = jax.tree.map(jnp.asarray, rule_params)
    specs = argument_specs(rule)

    def targets(*arguments: jax.Array) -> tuple[jax.Array, ...]:
        given = dict(zip(specs, arguments, strict=True))
        num_steps, num_rows = given["reward"].shape
        absent = jnp.zeros((num_steps + 1, num_rows, 0))
        inputs = RuleInputs(**{"prediction": absent, "value": absent, **given})
        targets = rule.targets(constants, inputs)
        return tuple(getattr(targets, name) for name in rule.results)

    program = export.export(jax.jit(targets), platforms=PLATFORMS)
    return bytes(program(*specs.values()).serialize())


@dataclass(frozen=True)
class Command:
    """Write a rule's targets as a program that JAX runs without this project."""

    rule: tyro.conf.Positional[str]
    """A .safetensors file that metatrain wrote, or the name of a shipped rule (lpg-15)."""
    out: tyro.conf.Positional[Path]
    """The file to write, such as rule.stablehlo."""


def main() -> None:
    """Exit codes: 0 done, 2 bad input, 1 a file that could not be written."""
    command = tyro.cli(Command, prog="python -m lpg.files.export")
    try:
        data = exported_rule(*load(command.rule))
    except ValueError as error:
        sys.exit(fail("lpg.files.export", str(error), 2))
    try:
        write_atomically(command.out, data)
    except OSError as error:
        sentence = f"Cannot write {command.out} ({error.strerror}); choose another place."
        sys.exit(fail("lpg.files.export", sentence, 1))
    print(f"{command.out}: {len(data):,} bytes")


if __name__ == "__main__":
    main()
