"""From a rule file to a rule: its header chooses the class, its tensors must fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lpg
from lpg.files.loading import from_file
from lpg.files.storage import RuleFile, RuleFileError, load_rule, save_rule, shipped_rules
from lpg.rules.lpg import LPG
from lpg.rules.lpg_v import LPGV

RULES = (LPG(hidden_size=2, prediction_size=3, embedding_size=2), LPGV(hidden_size=2, lam=0.5))


def tensors(rule):
    """Numbers that no initialiser draws."""
    shapes = jax.eval_shape(rule.init, jax.random.key(0))
    return jax.tree.map(lambda x: np.full(x.shape, 0.25, np.float32), shapes)


@pytest.mark.parametrize("rule", RULES)
def test_a_file_gives_back_the_rule_and_arrays_of_jax(rule, tmp_path):
    path = tmp_path / "rule.safetensors"
    save_rule(path, tensors(rule), rule.architecture(), {})
    found, params = lpg.load(str(path))
    assert found == rule and type(found) is type(rule)
    assert jax.tree.structure(params) == jax.tree.structure(tensors(rule))
    for leaf in jax.tree.leaves(params):
        assert isinstance(leaf, jax.Array) and leaf.dtype == jnp.float32
        np.testing.assert_array_equal(leaf, 0.25)


def test_every_shipped_rule_loads_by_its_name():
    for name in shipped_rules():
        rule, params = lpg.load(name)
        raw = load_rule(name)
        assert raw.architecture == rule.architecture(), name
        sizes = [x.size for x in jax.tree.leaves(raw.params)]
        assert [x.size for x in jax.tree.leaves(params)] == sizes and sum(sizes) > 10_000
        assert raw.provenance, name


def test_tensors_of_another_shape_are_refused_in_one_sentence():
    rule = RULES[0]
    wrong = tensors(rule)
    wrong["pi_hat"]["bias"] = np.zeros(2, np.float32)
    with pytest.raises(RuleFileError, match="The tensors in here do not have the shapes") as told:
        from_file(RuleFile(wrong, rule.architecture(), {}), "here")
    assert "\n" not in str(told.value)


def test_a_missing_tensor_and_one_too_many_are_refused():
    rule = RULES[1]
    less, more = tensors(rule), tensors(rule)
    del less["lstm"]["b"]
    more["extra"] = np.zeros(1, np.float32)
    for params in (less, more):
        with pytest.raises(RuleFileError, match="do not have the shapes"):
            from_file(RuleFile(params, rule.architecture(), {}), "here")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rule": "disco"}, "Unknown kind of rule 'disco'; known are lpg, lpg_v"),
        ({"colour": 3}, "is not one this version knows"),
        ({"hidden_size": 0}, "hidden_size must be at least 1"),
        ({"hidden_size": 5}, "do not have the shapes"),
    ],
)
def test_a_header_that_does_not_fit_is_refused_by_the_files_name(change, told):
    """As RuleFileError, whatever was wrong with it."""
    rule = RULES[0]
    file = RuleFile(tensors(rule), {**rule.architecture(), **change}, {})
    with pytest.raises(RuleFileError, match=told) as error:
        from_file(file, "mine.safetensors")
    assert "mine.safetensors" in str(error.value)
