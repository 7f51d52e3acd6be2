"""Which rules are compared, what they are called, and which get Eq. 7's head."""

from functools import cache

import jax
import numpy as np
import pytest

from lpg.files.storage import load_rule, save_rule
from lpg.heads import Heads
from lpg.rules.lpg import LPG
from lpg.rules.lpg_v import LPGV
from metatest.algorithms import AlgorithmOptions, choose, learned
from metatest.training import META_TRAINED

OPTIONS = AlgorithmOptions(precision="float32")
RULES = {
    "lpg": LPG(hidden_size=4, prediction_size=3, embedding_size=2),
    "lpg_v": LPGV(hidden_size=4),
}


@cache
def params(kind):
    shapes = jax.eval_shape(RULES[kind].init, jax.random.key(0))
    return jax.tree.map(lambda x: np.full(x.shape, 0.1, np.float32), shapes)


def rule_file(path, kind="lpg"):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_rule(path, params(kind), RULES[kind].architecture(), {})
    return str(path)


def test_rules_are_called_by_kind_then_by_run_directory_then_by_number(tmp_path):
    ours, mine, theirs = (
        rule_file(tmp_path / folder / "rule.safetensors") for folder in ("ours", "a/run", "b/run")
    )
    other = rule_file(tmp_path / "v" / "rule.safetensors", "lpg_v")
    baselines = (mine, "a2c", theirs, other, "lpg-tabular")
    found = choose((ours, *baselines), OPTIONS)
    names = ["lpg", "run", "a2c", "run-2", "lpg_v", "lpg-tabular"]
    assert [algorithm.name for algorithm in found] == names
    assert [x.training is META_TRAINED for x in found] == [name != "a2c" for name in names]


def test_what_is_no_baseline_is_named_in_one_sentence(tmp_path):
    path = rule_file(tmp_path / "rule.safetensors")
    with pytest.raises(
        ValueError, match="Unknown algorithm 'dqn'; known are a2c, ppo, impala, "
    ) as caught:
        choose((path, "dqn"), OPTIONS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "asked", "heads"),
    [
        ("lpg", False, Heads(logits=2, prediction=3)),
        ("lpg", True, Heads(logits=2, prediction=3, value=1)),
        ("lpg_v", True, Heads(logits=2, value=1)),
    ],
)
def test_the_baseline_head_is_for_rules_without_a_value_of_their_own(tmp_path, kind, asked, heads):
    path = rule_file(tmp_path / "rule.safetensors", kind)
    found = learned(path, load_rule(path), asked, "bfloat16")
    assert found.heads(2) == heads and found.rule.precision == "bfloat16"
