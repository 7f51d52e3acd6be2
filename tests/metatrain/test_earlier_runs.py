"""Runs that earlier versions of this program left are taken up, or refused for what they lack.

Each directory has the commit that made it for its name: `metatrain --preset quick --envs short
--lifetimes 2 --num-envs 2 --rule.hidden-size 8 --meta-steps 2 --log-every 1`.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from lpg.rules.lpg import LPG
from lpg.runs.checkpoint import CheckpointError, newest_leaves
from metatrain.config import CENTRED
from metatrain.engine import Engine
from metatrain.initial_rule import read_initial_rule
from metatrain.presets import PRESETS
from metatrain.records.records import Records
from metatrain.records.run_directory import RunDirectoryError

RUNS = Path(__file__).parent / "earlier_runs"
QUICK = replace(
    PRESETS["quick"],
    envs=("short",),
    lifetimes=2,
    num_envs=2,
    rule=CENTRED(hidden_size=8),
    meta_steps=3,
)


@pytest.fixture
def run(tmp_path):
    """A copy of a run."""
    return lambda commit: shutil.copytree(RUNS / commit, tmp_path / commit)


def take_up(run_dir, config):
    """State, meta-step and complaints."""
    records = Records(run_dir, config)
    try:
        return records.start(Engine(config.rule, config), None)
    finally:
        records.close()


def test_the_last_one_goes_on_from_its_last_bit(run):
    run_dir = run("b8bcbbb")
    state, meta_step, damaged = take_up(run_dir, QUICK)
    assert (meta_step, damaged) == (2, ())
    leaves = newest_leaves(run_dir)
    for path, x in jax.tree_util.tree_leaves_with_path(state.rule_params):
        name = "rule_params." + jax.tree_util.keystr(path, simple=True, separator=".")
        np.testing.assert_array_equal(x, leaves[name])
    assert len((run_dir / "metrics.jsonl").read_text().splitlines()) == 2


def test_one_whose_state_lacks_what_is_needed_today_is_not_called_damaged(run):
    """Its critic did not go on beyond time limits."""
    run_dir = run("2bdf86a")
    with pytest.raises(CheckpointError, match=r"is intact but holds another state .*--init-rule"):
        take_up(run_dir, QUICK)
    assert (run_dir / "checkpoints" / "2").is_dir() and not (run_dir / "damaged").exists()


@pytest.mark.parametrize("commit", ["b8bcbbb", "2bdf86a", "1b8a599"])
def test_a_new_run_goes_on_from_the_rule_and_adam_of_any(run, commit):
    run_dir = run(commit)
    initial = read_initial_rule(replace(QUICK, init_rule=str(run_dir)))
    leaves = newest_leaves(run_dir)
    for path, x in jax.tree_util.tree_leaves_with_path(initial.rule_params):
        name = "rule_params." + jax.tree_util.keystr(path, simple=True, separator=".")
        assert leaves[name].shape == x.shape
        if commit != "1b8a599":  # whose rule, not yet centred, is rewritten
            np.testing.assert_array_equal(x, leaves[name])


def test_one_from_before_lives_without_rewards_is_told_apart_by_what_was_done_then(run):
    run_dir = run("1b8a599")
    with pytest.raises(RunDirectoryError, match=r"reward_free_share \(0.0 -> 0.1\); give"):
        take_up(run_dir, QUICK)
    with pytest.raises(RunDirectoryError, match=r"prediction_input"):
        take_up(run_dir, replace(QUICK, reward_free_share=0.0, rule=LPG(hidden_size=8)))
