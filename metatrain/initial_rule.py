"""Where eta starts: fresh, from a rule file, or with Adam's moments from another run."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax

from lpg.files.storage import RuleFileError, load_rule
from lpg.rule import RuleParams
from lpg.rules.learned import StoredArchitecture
from lpg.rules.registry import LearnedRule
from lpg.runs.checkpoint import CheckpointError, newest_leaves
from metatrain.config import MetaTrainConfig
from metatrain.meta_optimizer import meta_optimizer


class InitialRuleError(ValueError):
    """A rule that meta-training cannot start from; the message names cause and remedy."""


class InitialRule(NamedTuple):
    """What meta-training starts from in place of a fresh eta."""

    rule_params: RuleParams  # eta, as the config's rule has it
    meta_opt_state: Any  # Adam's on it: fresh, or a run's


def read_initial_rule(config: MetaTrainConfig) -> InitialRule | None:
    """What `config.init_rule` names: a shipped rule, a rule file, or a run directory, whose newest
    checkpoint's eta and Adam are taken; None where it names nothing.

    Raises InitialRuleError.
    """
    if config.init_rule is None:
        return None
    optimizer = meta_optimizer(config)
    like = jax.eval_shape(config.rule.init, jax.random.key(0))
    if Path(config.init_rule).is_dir():
        states = InitialRule(like, jax.eval_shape(optimizer.init, like))
        return InitialRule(*_from_run(config, Path(config.init_rule), states))
    try:
        rule_params = params_of(config.rule, config.init_rule)
    except RuleFileError as error:
        raise InitialRuleError(f"--init-rule: {error}") from error
    return InitialRule(rule_params, optimizer.init(rule_params))


def params_of(rule: LearnedRule, name: str) -> RuleParams:
    """eta of a shipped rule or of a rule file, as `rule` has it.

    Raises RuleFileError where it cannot be read, InitialRuleError where it is of another
    architecture.
    """
    file = load_rule(name)
    _refuse_other(name, rule.published().architecture(), file.architecture)
    return rule.unpublish(jax.tree.map(jax.numpy.asarray, file.params))


def _from_run(config: MetaTrainConfig, run_dir: Path, like: InitialRule) -> InitialRule:
    try:
        theirs = json.loads((run_dir / "config.json").read_text())["rule"]
        leaves = newest_leaves(run_dir)
    except (OSError, ValueError, KeyError, CheckpointError) as error:
        raise InitialRuleError(
            f"--init-rule: {run_dir} is not a run directory to start from ({error})."
        ) from error
    ours = config.as_json()["rule"]
    # How it is computed, and how a meta-gradient is estimated, are no part of what is taken up.
    for own in ours.keys() & {*StoredArchitecture.not_stored, "surrogate"}:
        theirs[own] = ours[own]
    _refuse_other(str(config.init_rule), ours, theirs)

    def pick(path: Any, x: Any) -> Any:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        found = leaves.get(name)
        if found is None or found.shape != x.shape:
            raise InitialRuleError(
                f"The checkpoint of {run_dir} has no {name} of shape {x.shape}: another version "
                "wrote it; name its rule.safetensors instead."
            )
        return found

    return jax.tree_util.tree_map_with_path(pick, like)


def _refuse_other(name: str, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    different = [k for k in sorted(ours | theirs) if ours.get(k) != theirs.get(k)]
    if different:
        listed = ", ".join(f"{k} ({theirs.get(k)} there, {ours.get(k)} here)" for k in different)
        raise InitialRuleError(
            f"The rule of {name} is another than this run's: {listed}; give the same "
            "with --rule and its fields."
        )
