"""From a rule file to a rule that can be used: the header's kind chooses the class."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lpg.files.storage import RuleFile, RuleFileError, load_rule
from lpg.rule import RuleParams
from lpg.rules.registry import LearnedRule, rule_from_architecture


class LoadedRule(NamedTuple):
    """A learned rule, and the parameters that its file holds."""

    rule: LearnedRule
    params: RuleParams  # eta, float32 on JAX's default device


def load(path_or_name: str) -> LoadedRule:
    """A rule and its parameters, from a file or a shipped rule's name (such as 'lpg-15').

        rule, rule_params = lpg.load("lpg-15")
        targets = rule.targets(rule_params, inputs)

    Raises RuleFileError for anything that is not an intact file of a kind of rule known here.
    """
    return from_file(load_rule(path_or_name), path_or_name)


def from_file(file: RuleFile, name: str) -> LoadedRule:
    """What `load` does with a file that has been read; errors call it `name`."""
    try:
        rule = rule_from_architecture(file.architecture)
    except ValueError as error:
        raise RuleFileError(f"{name}: {error}") from error
    like = jax.eval_shape(lambda key: rule.publish(rule.init(key)), jax.random.key(0))
    expected = jax.tree.map(lambda x: x.shape, like)
    if jax.tree.map(lambda x: x.shape, file.params) != expected:
        raise RuleFileError(
            f"The tensors in {name} do not have the shapes that its header's architecture "
            "implies; take an intact copy of the rule."
        )
    return LoadedRule(rule, rule.unpublish(jax.tree.map(jnp.asarray, file.params)))
