"""The config's refusals and arithmetic, and the presets beside what README says of them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny import TINY

from envs.suite import SUITE
from lpg.rules.lpg import LPG
from lpg.rules.lpg_v import LPGV
from metatrain.cli import parse
from metatrain.config import ALL_ENVIRONMENTS, CENTRED, TABULAR_ENVIRONMENTS, MetaTrainConfig
from metatrain.presets import PRESETS, with_rule
from metatrain.train import RunOptions

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(({name: 0}, f"{name} must be at least 1, got 0") for name in (
            "num_envs", "num_steps", "num_updates", "meta_steps", "max_skipped", "unearned_rows",
            "validate_every", "validation_seeds", "validation_updates", "lifetimes_per_chunk",
        )),
        *(({name: 0.0}, f"{name} must be positive, got 0.0") for name in (
            "meta_learning_rate", "meta_adam_epsilon", "max_grad_norm", "max_share",
            "bandit_temperature", "lifetime_scale",
        )),
        ({"lifetime_scale": float("nan")}, "lifetime_scale must be positive, got nan"),
        ({"unearned_rows": 5}, "at most the 4 environments of a lifetime, got 5"),
        ({"reward_free_share": -0.1}, r"reward_free_share must lie in \[0, 1\), got -0.1"),
        ({"average_decay": 1.0}, r"average_decay must lie in \[0, 1\), got 1.0"),
        ({"gammas": ()}, r"gammas must lie in \[0, 1\), got \(\)"),
        ({"gammas": (0.9, 1.0)}, "gammas must lie in"),
        ({"reward_offsets": (0.0, float("inf"))}, r"reward_offsets must be finite, got \(0.0, inf"),
        ({"policy_entropy_costs": ()}, "policy_entropy_costs must name at least one value"),
        ({"seed": 2**32}, r"seed must lie in \[0, 2\^32\), got 4294967296"),
        ({"seed": -1}, r"seed must lie in \[0, 2\^32\), got -1"),
        ({"envs": ()}, "envs must name each environment once"),
        ({"envs": ("short", "short"), "lifetimes": 4}, "envs must name each environment once"),
        ({"lifetimes": 0}, "lifetimes must be a positive multiple"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_value_given(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        replace(TINY, **change)
    assert "\n" not in str(caught.value)


@settings(max_examples=25, deadline=None)
@given(st.data(), st.integers(1, 500))
def test_uneven_lifetimes_are_refused_with_a_number_that_would_do(data, lifetimes):
    """In environments that are each a cohort of its own, and so may have any share."""
    envs = ("dense", "rand_dense", "rand_small", "short", "distractor")
    shares = data.draw(st.one_of(st.just(()), st.tuples(*[st.integers(1, 9)] * len(envs))))
    try:
        config = replace(TINY, envs=envs, shares=shares, lifetimes=lifetimes)
    except ValueError as error:
        (tried,) = re.findall(r"try (\d+)\.$", str(error))
        config = replace(TINY, envs=envs, shares=shares, lifetimes=int(tried))
        assert abs(int(tried) - lifetimes) < sum(shares or [1] * 5)
    each = [config.lifetimes_of(name) for name in envs]
    assert sum(each) == config.lifetimes
    parts = shares or (1,) * 5
    assert all(each[i] * parts[0] == each[0] * parts[i] for i in range(5))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 200), st.floats(0.0, 1.0, exclude_max=True))
@example(1, 0.7)
@example(3, 0.99)
@example(10, 0.16)
def test_some_lives_earn_whatever_share_earns_nothing(lifetimes, share):
    config = replace(TINY, envs=("short",), lifetimes=lifetimes, reward_free_share=share)
    free = config.reward_free_of("short")
    assert 0 <= free < lifetimes
    assert abs(free - share * lifetimes) <= (0.5 if share * lifetimes < lifetimes - 1 else 1.0)


def test_a_config_is_plain_json_with_the_rules_kind():
    found = replace(TINY, max_share=None).as_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["envs"] == ["sparse", "short", "long_noisy", "distractor"]
    assert found["rule"]["rule"] == "lpg" and found["rule"]["hidden_size"] == 8
    assert found["max_share"] is None
    assert TINY.interactions_per_meta_step == 8 * 4 * 5 * 2
    costs = replace(TINY, pi_hat_cost=1.0, y_hat_cost=2.0, unearned_cost=3.0).penalty_costs
    assert costs == {"pi_hat": 1.0, "y_hat": 2.0, "unearned": 3.0}


def test_the_tabular_environments_are_those_of_table_3():
    assert len(ALL_ENVIRONMENTS) == len(SUITE) == 15
    assert TABULAR_ENVIRONMENTS == (
        "dense", "sparse", "long_horizon", "longer_horizon", "long_dense",
        "short", "short_noisy", "long", "long_noisy",
    )  # fmt: skip


def test_presets_are_those_of_the_readme():
    """| `name` | environments | lifetimes [× environments each] | LSTM | for |"""
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (\d+) \| ", README.read_text(), re.M)
    assert [name for name, *_ in rows] == list(PRESETS)
    counts = {"all fifteen": 15, "the nine tabular ones": 9, "the four tabular chains": 4}
    for name, envs, lifetimes, hidden in rows:
        preset = PRESETS[name]
        assert preset.rule.hidden_size == int(hidden)
        assert len(preset.envs) == counts.get(envs, 12)
        size = re.fullmatch(r"(\d+) × (\d+)(?: environments)?", lifetimes)
        assert size is None or (str(preset.lifetimes), str(preset.num_envs)) == size.groups()
    assert PRESETS["paper_long"].meta_steps == 10 * PRESETS["paper"].meta_steps
    assert {SUITE[name].agent[0] for name in PRESETS["cpu"].envs} == {"t", "D"}


def test_another_kind_of_rule_keeps_its_sizes_and_drops_what_it_has_no_use_for():
    config = MetaTrainConfig(rule=CENTRED(hidden_size=24), lifetimes=30)
    assert with_rule(config, "lpg") is config
    other = with_rule(config, "lpg_v")
    assert isinstance(other.rule, LPGV) and other.rule.hidden_size == 24
    assert (other.prediction_entropy_cost, other.y_hat_cost) == (0.0, 0.0)
    same = {"rule": config.rule, "prediction_entropy_cost": 1e-5, "y_hat_cost": 1e-5}
    assert replace(other, **same) == config
    back = with_rule(other, "lpg")
    assert isinstance(back.rule, LPG) and back.rule.hidden_size == 24
    with pytest.raises(ValueError, match="nowhere"):
        with_rule(config, "nowhere")


def test_the_command_line_chooses_preset_and_rule_in_either_spelling():
    for arguments in (["--preset", "quick", "--rule", "lpg_v"], ["--rule=lpg_v", "--preset=quick"]):
        command = parse([*arguments, "--rule.hidden-size", "5"])
        assert (command.preset, command.rule, command.run_dir) == (
            "quick",
            "lpg_v",
            Path("runs/quick"),
        )
        assert command.config.envs == PRESETS["quick"].envs
        assert isinstance(command.config.rule, LPGV) and command.config.rule.hidden_size == 5
        assert command.config.y_hat_cost == 0.0


@pytest.mark.parametrize("name", ["log_every", "checkpoint_every"])
def test_run_options_refuse_nonsense(name, tmp_path):
    options = {"log_every": 1, "checkpoint_every": 1} | {name: 0}
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        RunOptions(tmp_path, **options)
