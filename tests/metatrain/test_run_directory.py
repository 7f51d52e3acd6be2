"""A run's files: rules and where they come from, log lines, TensorBoard's scalars, a full disk."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_event_log import read_events
from tiny import TINY

from envs.suite import SUITE
from lpg.files.storage import load_rule
from lpg.rules.lpg_v import LPGV
from lpg.runs import owner
from metatrain.records.run_directory import RunDirectory, RunDirectoryError
from metatrain.records.scalars import scalars
from metatrain.selection import chosen, nothing_selected

RECORD = {
    "meta_step": 3, "skipped": 1, "gradient_norm": None,
    "loss": {"total": 0.5, "policy_entropy": None},
    "environments": {
        "short": {"return": 0.25, "late_return": None, "bandit": [0.5, *[0.0625] * 8], "lives": 2},
        "sparse": {"return": None, "late_return": None, "bandit": [1 / 9] * 9, "lives": 0},
    },
    "return": {"short": 0.25},
    "validation": {"score": 0.75, "environments": {"short": {"return": 1.5, "return_by_arm": [1]}}},
}  # fmt: skip


def etas(count):
    like = jax.eval_shape(TINY.rule.init, jax.random.key(0))
    return [
        jax.tree.map(lambda x, i=i: jnp.asarray(np.full(x.shape, 0.1 * i, np.float32)), like)
        for i in range(count)
    ]


def assert_is(path, eta, meta_step):
    """The file holds eta as others read it, and says how it came to be."""
    file, published = load_rule(path), TINY.rule.publish(eta)
    for a, b in zip(jax.tree.leaves(file.params), jax.tree.leaves(published), strict=True):
        np.testing.assert_array_equal(a, b)
    assert file.provenance["meta_step"] == meta_step
    assert file.provenance["interactions"] == meta_step * 8 * 4 * 5 * 2
    assert file.provenance["config"] == TINY.as_json()
    return file.provenance


def test_the_exported_rule_is_the_best_validated_and_the_last_lies_beside_it(tmp_path):
    average, last = etas(2)
    directory = RunDirectory(tmp_path, TINY)
    selection = nothing_selected(average)
    directory.save_rules(selection, last, 5)
    assert assert_is(tmp_path / "rule.safetensors", last, 5)["validation_score"] is None
    selection = chosen(selection, jnp.float32(0.5), jnp.int32(4))
    directory.save_rules(selection, last, 6)
    assert assert_is(tmp_path / "rule.safetensors", average, 4)["validation_score"] == 0.5
    assert "validation_score" not in assert_is(tmp_path / "rule_last.safetensors", last, 6)


def test_a_line_is_the_same_in_json_and_in_tensorboard_but_for_what_is_no_scalar(tmp_path):
    directory = RunDirectory(tmp_path, TINY)
    directory.open_logs(0)
    directory.log(RECORD)
    directory.log(RECORD | {"meta_step": 4})
    directory.close()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [RECORD, RECORD | {"meta_step": 4}]
    events = [e for e in read_events(tmp_path / "tensorboard") if e.summary.value]
    told = [(e.step, e.summary.value[0].tag, e.summary.value[0].simple_value) for e in events]
    bandits = [x for x in told if x[1].startswith("bandit")]
    assert [x for x in told[: len(told) // 2] if x not in bandits] == [
        (3, "skipped", 1.0), (3, "loss/total", 0.5), (3, "return/short", 0.25),
        (3, "lives/short", 2.0), (3, "lives/sparse", 0.0),
        (3, "normalised_return/mean", 0.25), (3, "normalised_return/short", 0.25),
        (3, "validation/score", 0.75), (3, "validation_return/short", 1.5),
    ]  # fmt: skip
    rates = (20.0, 40.0, 80.0)
    assert SUITE["short"].learning_rates == rates
    tags = [f"lr_{rate:g}_alpha_y_{cost:g}" for rate in rates for cost in (0.1, 0.5, 1.0)]
    assert [x[1] for x in bandits[:9]] == [f"bandit_short/{tag}" for tag in tags]
    assert [x[2] for x in bandits[:9]] == [0.5, *[0.0625] * 8] and len(bandits) == 2 * 2 * 9
    assert {step for step, *_ in told[len(told) // 2 :]} == {4}


def test_returns_of_all_environments_are_on_one_scale():
    """Half way from a random policy to the best one in two of them; the third has finished none."""
    halves = {}
    for name in ("sparse", "short"):
        low, high = SUITE[name].return_range
        halves[name] = {"return": None, "late_return": (low + high) / 2, "bandit": [0.5] * 9}
    none = {"return": None, "late_return": None, "bandit": [0.5] * 9}
    record = RECORD | {"environments": halves | {"long_noisy": none}}
    found = dict(scalars(record, TINY))
    assert found["normalised_late_return/sparse"] == pytest.approx(0.5)
    assert found["normalised_late_return/mean"] == pytest.approx(0.5)
    assert not {"normalised_late_return/long_noisy", "normalised_return/mean"} & found.keys()


def test_lines_beyond_the_checkpoint_are_forgotten_in_both_logs(tmp_path):
    directory = RunDirectory(tmp_path, TINY)
    lines = [json.dumps({"meta_step": step}) for step in (2, 4, 6)]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"meta_st']))
    directory.open_logs(4)
    directory.close()
    assert (tmp_path / "metrics.jsonl").read_text() == "\n".join([*lines[:2], ""])
    restart = [e for e in read_events(tmp_path / "tensorboard") if e.session_log.status]
    assert [e.step for e in restart] == [5]


def test_a_run_goes_on_in_another_manner_but_not_as_another_run(tmp_path):
    RunDirectory(tmp_path, TINY)
    RunDirectory(tmp_path, replace(TINY, meta_steps=99, lifetimes_per_chunk=1, remat=True))
    for change in ({"seed": 1}, {"gammas": (0.9,)}, {"rule": replace(TINY.rule, hidden_size=4)}):
        with pytest.raises(RunDirectoryError, match=rf"{next(iter(change))}\S* \(.* -> .*\)"):
            RunDirectory(tmp_path, replace(TINY, **change))


def test_what_cannot_be_written_is_one_sentence_and_leaves_nothing_behind(tmp_path):
    directory, (eta,) = RunDirectory(tmp_path, TINY), etas(1)
    for name in ("rule.safetensors", "metrics.jsonl"):
        (tmp_path / name).mkdir()
    for act in (
        lambda: directory.save_rules(nothing_selected(eta), eta, 1),
        lambda: directory.log(RECORD),
    ):
        with pytest.raises(RunDirectoryError, match="make room and run the same command") as caught:
            act()
        assert "\n" not in str(caught.value)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"config.json", "rule.safetensors", "metrics.jsonl", owner.NAME}


def written_before(path, change):
    """A run directory whose config.json an older version wrote."""
    RunDirectory(path, TINY).close()
    config = json.loads((path / "config.json").read_text())
    change(config)
    (path / "config.json").write_text(json.dumps(config))


def test_a_run_from_before_an_option_goes_on_as_what_was_done_then(tmp_path):
    """What was done then is today's default, or the option set to nothing."""
    written_before(tmp_path, lambda config: config["rule"].pop("fused_lstm"))
    RunDirectory(tmp_path, TINY).close()
    then = {"unearned_cost": 0.0, "reward_free_share": 0.0, "max_share": None, "average_decay": 0.0}
    for name in (*then, "gae_lambda", "rows"):
        written_before(tmp_path / name, lambda config, name=name: config.pop(name))
    for name in ("gae_lambda", "rows"):
        RunDirectory(tmp_path / name, TINY).close()
    for name, value in then.items():
        with pytest.raises(RunDirectoryError, match=rf"options: {name} \({value} -> "):
            RunDirectory(tmp_path / name, TINY)
        RunDirectory(tmp_path / name, replace(TINY, **{name: value})).close()


def test_a_run_from_before_predictions_were_centred_goes_on_without(tmp_path):
    written_before(tmp_path, lambda config: config["rule"].pop("prediction_input"))
    with pytest.raises(RunDirectoryError, match=r"rule.prediction_input \(y -> centred\)"):
        RunDirectory(tmp_path, TINY)


def test_a_run_from_before_there_were_kinds_of_rules_is_lpgs(tmp_path):
    written_before(tmp_path, lambda config: config["rule"].pop("rule"))
    RunDirectory(tmp_path, TINY).close()
    with pytest.raises(RunDirectoryError, match=r"rule.rule \(lpg -> lpg_v\)"):
        RunDirectory(tmp_path, replace(TINY, rule=LPGV(hidden_size=8)))


def test_how_a_rule_is_computed_is_free(tmp_path):
    written_before(tmp_path, lambda config: config["rule"].update(fused_lstm=True))
    RunDirectory(tmp_path, TINY).close()
