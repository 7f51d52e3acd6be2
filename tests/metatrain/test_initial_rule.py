"""Starting eta from a file, a shipped rule or a run: folded back, Adam kept, others refused."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from tiny import TINY

from lpg.files.storage import save_rule
from lpg.runs.checkpoint import Checkpoints
from metatrain.config import CENTRED, MetaTrainConfig
from metatrain.engine import Engine
from metatrain.initial_rule import InitialRuleError, read_initial_rule
from metatrain.records.run_directory import RunDirectory
from metatrain.train import RunOptions, train

SMALL = replace(TINY, envs=("short",), lifetimes=2, meta_steps=2)


def assert_same(a, b, **tolerance):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), **tolerance)


def test_nothing_named_starts_afresh():
    assert read_initial_rule(SMALL) is None


def test_a_file_is_unfolded(tmp_path):
    eta = SMALL.rule.init(jax.random.key(5))
    path = tmp_path / "rule.safetensors"
    published = jax.device_get(SMALL.rule.publish(eta))
    save_rule(path, published, SMALL.rule.published().architecture(), {})
    initial = read_initial_rule(replace(SMALL, init_rule=str(path)))
    assert_same(initial.rule_params, eta, rtol=1e-5, atol=1e-6)
    engine = Engine(SMALL.rule, SMALL)
    state = engine.start_from(engine.init(jax.random.key(0)), initial)
    assert_same(state.rule_params, eta, rtol=1e-5, atol=1e-6)
    assert_same(state.selection.average, state.rule_params)
    arrays = [x for x in jax.tree.leaves(state._replace(key=None)) if x.size]
    places = [x.addressable_shards[0].data.unsafe_buffer_pointer() for x in arrays]
    assert len(set(places)) == len(places)  # each is its own, so that all can be donated


def test_a_shipped_rule_is_found_by_name():
    config = MetaTrainConfig(init_rule="lpg-tabular", rule=CENTRED())
    hidden = read_initial_rule(config).rule_params["phi"]["hidden"]
    assert hidden["kernel"].shape == (30, 16)


@pytest.mark.slow
def test_a_runs_eta_and_adam_go_on(tmp_path, monkeypatch):
    """Two steps, then on from there: what a longer run would have had, but for its lifetimes."""
    monkeypatch.setattr("metatrain.records.records.draw_all", lambda *args: None)
    first = tmp_path / "first"
    train(SMALL, RunOptions(first, log_every=2, checkpoint_every=2))
    engine = Engine(SMALL.rule, SMALL)
    like = jax.eval_shape(engine.init, jax.random.key(0))
    restored = Checkpoints(first).restore_newest(like)
    initial = read_initial_rule(replace(SMALL, lifetimes=4, init_rule=str(first)))
    assert_same(initial.rule_params, restored.state.rule_params, rtol=0)
    assert_same(initial.meta_opt_state, restored.state.meta_opt_state, rtol=0)
    moments = jax.tree.leaves(initial.meta_opt_state)
    assert any(np.abs(np.asarray(x)).max() > 0 for x in moments if np.asarray(x).ndim > 1)
    second = tmp_path / "second"
    config = replace(SMALL, init_rule=str(first))
    assert train(config, RunOptions(second, log_every=2, checkpoint_every=2)) == 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.safetensors", "Cannot read the rule file"),
        ("lpg-nowhere", "No rule named 'lpg-nowhere' is shipped"),
        ("lpg-tabular", r"hidden_size \(256 there, 8 here\)"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(source, message, tmp_path):
    config = replace(SMALL, init_rule=source)
    with pytest.raises(InitialRuleError, match=message):
        train(config, RunOptions(tmp_path / "run", log_every=1, checkpoint_every=1))
    assert not (tmp_path / "run").exists()


def test_a_directory_that_is_no_run_and_a_run_of_another_rule_are_refused(tmp_path):
    with pytest.raises(InitialRuleError, match="not a run directory to start from"):
        read_initial_rule(replace(SMALL, init_rule=str(tmp_path)))
    RunDirectory(tmp_path / "run", SMALL)
    with pytest.raises(InitialRuleError, match="There is no checkpoint"):
        read_initial_rule(replace(SMALL, init_rule=str(tmp_path / "run")))
