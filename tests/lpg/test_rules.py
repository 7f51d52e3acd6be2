"""What rules say of themselves: charges, headers, layouts; and what is refused."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import numpy_rule
import pytest
from scipy import special

from lpg.network.lstm import SAVED
from lpg.platform import for_platform
from lpg.rule import RuleInputs, kept_names, penalties, push
from lpg.rules.a2c import A2C, A2CTargets
from lpg.rules.lpg import LPG, LPGTargets
from lpg.rules.lpg_eq7 import LPGWithBaseline, with_baseline
from lpg.rules.lpg_v import LPGV
from lpg.rules.registry import KINDS, rule_class, rule_from_architecture

SMALL = LPG(hidden_size=4, prediction_size=3, embedding_size=2)
OTHERS = (
    LPG(hidden_size=5, prediction_size=2, embedding_size=7, head_activation="none"),
    LPGV(hidden_size=6, lam=0.25, head_activation="none"),
)


def lpg_targets():
    rng = np.random.default_rng(0)
    draw = (rng.normal(size=(4, 2)), 2 * rng.normal(size=(4, 2, 3)))
    return LPGTargets(*(jnp.asarray(x, jnp.float32) for x in draw))


def test_lpg_is_charged_for_the_squares_of_pi_hat_and_of_the_distribution_y_hat():
    targets = lpg_targets()
    y_hat = special.softmax(np.asarray(targets.y_hat_logits, np.float64), axis=-1)
    found = penalties(SMALL, targets)
    assert found.keys() == {"pi_hat", "y_hat"}
    pi_hat = np.asarray(targets.pi_hat, np.float64)
    np.testing.assert_allclose(found["pi_hat"], pi_hat**2, rtol=1e-5)
    np.testing.assert_allclose(found["y_hat"], (y_hat**2).sum(-1), rtol=1e-5)
    np.testing.assert_array_equal(push(SMALL, targets), found["pi_hat"])


def test_a_rule_that_says_nothing_is_charged_for_nothing_and_keeps_nothing():
    nothing = A2CTargets(jnp.ones((2, 2)), jnp.ones((2, 2)))
    assert penalties(A2C(), nothing) == {} and push(A2C(), nothing) is None
    assert kept_names(A2C()) == ()
    assert kept_names(SMALL) == kept_names(LPGV()) == (SAVED,)


@pytest.mark.parametrize("rule", OTHERS)
def test_a_header_of_plain_json_makes_the_same_rule_again(rule):
    header = json.loads(json.dumps(rule.architecture()))
    again = rule_from_architecture(header)
    assert again == rule and type(again) is type(rule)
    assert rule_class(rule.kind) is type(rule)


def test_how_a_rule_is_computed_is_not_what_it_is():
    """Precision and kernels are the reader's choice."""
    for rule in (SMALL, LPGV()):
        narrow = dataclasses.replace(rule, precision="bfloat16")
        assert narrow.architecture() == rule.architecture()
        assert not {"precision", "fused_lstm", "prediction_input"} & rule.architecture().keys()


@pytest.mark.parametrize("kind", [None, "a2c", "LPG"])
def test_an_unknown_kind_is_refused_by_the_names_of_the_known(kind):
    with pytest.raises(ValueError, match=f"kind of rule {kind!r}; known are lpg, lpg_v"):
        rule_from_architecture({} if kind is None else {"rule": kind})
    assert list(KINDS) == ["lpg", "lpg_v"]


SHARED = [
    ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
    ({"head_activation": "tanh"}, "head_activation must be one of relu, none, got 'tanh'"),
    ({"precision": "float16"}, "precision must be one of auto, float32, bfloat16, got 'float16'"),
]
OF_LPG = [
    ({"prediction_size": -3}, "LPG's prediction_size must be at least 1, got -3"),
    ({"embedding_size": 0}, "LPG's embedding_size must be at least 1, got 0"),
    ({"prediction_input": "z"}, "prediction_input must be one of y, centred, got 'z'"),
]


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [(LPG, *x) for x in SHARED + OF_LPG] + [(LPGV, *x) for x in SHARED],
)
def test_nonsense_is_refused_with_its_value(kind, change, told):
    """Past the tests' own check of types, which a user does not have."""
    rule = kind()
    for name, value in change.items():
        object.__setattr__(rule, name, value)
    with pytest.raises(ValueError, match=told):
        rule.__post_init__()


@pytest.mark.parametrize(
    ("precision", "device", "dtype"),
    [
        ("auto", "cpu", None), ("auto", "gpu", jnp.bfloat16), ("float32", "tpu", None),
        ("bfloat16", "cpu", jnp.bfloat16),
    ],
)  # fmt: skip
def test_a_networks_type_is_the_precisions_on_the_platform_at_hand(precision, device, dtype):
    with for_platform(device):
        for rule in (SMALL, LPGV()):
            assert dataclasses.replace(rule, precision=precision).network.dtype == dtype


def test_the_fused_lstm_is_a_tpus():
    with for_platform("tpu"):
        assert LPGV(fused_lstm=True).network.lstm == "fused"
    with for_platform("cuda"), pytest.raises(ValueError, match="the platform here is 'cuda'"):
        LPGV(fused_lstm=True)


def test_heads_that_read_negative_hidden_states_equal_numpys():
    """Without the ReLU in between."""
    rng = np.random.default_rng(0)
    rule = dataclasses.replace(SMALL, head_activation="none")
    shapes = {
        "lstm": {"wx": (6, 16), "wh": (4, 16), "b": (16,)},
        "phi": {
            "hidden": {"kernel": (3, 2), "bias": (2,)},
            "out": {"kernel": (2, 1), "bias": (1,)},
        },
        "pi_hat": {"kernel": (4, 1), "bias": (1,)},
        "y_hat": {"kernel": (4, 3), "bias": (3,)},
    }
    eta = jax.tree.map(
        lambda s: jnp.asarray(rng.normal(size=s), jnp.float32),
        shapes, is_leaf=lambda x: isinstance(x, tuple),
    )  # fmt: skip
    sizes = {
        "reward": (5, 4), "not_done": (5, 4), "gamma": (4,), "action_prob": (5, 4),
        "prediction": (6, 4, 3), "value": (6, 4, 0),
    }  # fmt: skip
    arrays = {name: rng.normal(size=shape) for name, shape in sizes.items()}
    arrays["not_done"] = (arrays["not_done"] < 0.7).astype(float)
    tensors = {
        ".".join(key.key for key in path): np.asarray(x, np.float64)
        for path, x in jax.tree_util.tree_leaves_with_path(eta)
    }
    pi_hat, y_hat = numpy_rule.targets(rule.architecture(), tensors, arrays)
    inputs = RuleInputs(**{k: jnp.asarray(v, jnp.float32) for k, v in arrays.items()})
    found = jax.jit(rule.targets)(eta, inputs)
    np.testing.assert_allclose(found.pi_hat, pi_hat, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.y_hat, y_hat, rtol=1e-4, atol=1e-5)
    rectified = {**rule.architecture(), "head_activation": "relu"}
    assert np.abs(numpy_rule.targets(rectified, tensors, arrays)[0] - pi_hat).max() > 0.1


def test_a_baseline_changes_the_agent_and_nothing_else():
    rule = LPG(hidden_size=3, prediction_size=2, embedding_size=5, head_activation="none")
    found = with_baseline(rule)
    assert isinstance(found, LPGWithBaseline)
    assert dataclasses.asdict(found) == dataclasses.asdict(rule)
    assert found.heads(7)._replace(value=0) == rule.heads(7) and found.heads(7).value == 1
