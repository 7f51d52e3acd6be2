"""Environments and rules of the user's own by import path, from command line to rule file."""

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import corridor
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lpg
from envs.suite import SUITE, SuiteRow
from lpg.heads import Heads, action_log_prob
from lpg.rules.own import OwnRule
from metatest.algorithms import AlgorithmOptions, choose
from metatrain.cli import main, parse
from metatrain.cohort import build_cohorts
from metatrain.engine import Engine
from metatrain.environments import own_rows
from metatrain.initial_rule import read_initial_rule
from metatrain.presets import PRESETS, with_rule

ME = __name__
EXAMPLES = Path(__file__).parents[2] / "scripts" / "examples"


class Corridor(corridor.Corridor):
    """Observed by a clock and a flag."""

    def reset_env(self, key, params):
        _, state = super().reset_env(key, params)
        return {"clock": state.time, "flag": jnp.ones(2)}, state

    def step_env(self, key, state, action, params):
        _, state, *others = super().step_env(key, state, action, params)
        return {"clock": state.time, "flag": jnp.ones(2)}, state, *others


class Described(Corridor):
    """With a row beside it."""

    suite_row = SuiteRow(
        "", "user", None, "D(4)", "adam", (1e-2,), (0.5,), 200, random_return=2.5, best_return=5.0
    )


class Untimed(Corridor):
    default_params = ()

    def is_truncated(self, state, params):
        return state.time >= 5


class Eta(NamedTuple):
    scale: jax.Array


class Mine:
    """REINFORCE by the reward at hand, times what is learned."""

    def init(self, key):
        return [Eta(0.1 + 0.0 * jax.random.normal(key, (1,)))]

    def heads(self, num_actions):
        return Heads(logits=num_actions)

    def targets(self, rule_params, inputs):
        return rule_params[0].scale[0] * inputs.reward

    def loss(self, outputs, trajectory, targets, hypers):
        return -jnp.mean(action_log_prob(outputs.logits[:-1], trajectory.action) * targets)


def test_rows_are_the_environments_own_or_by_what_it_shows(tmp_path):
    corridor, described, catch = f"{ME}:Corridor", f"{ME}:Described", "Catch-bsuite"
    names = ("short", corridor, described, catch)
    rows = {row.name: row for row in own_rows(names)}
    assert list(rows) == [corridor, described, catch]
    assert (rows[described].agent, rows[described].lifetime_steps) == ("D(4)", 200)
    assert rows[corridor].agent == rows[catch].agent == "D(64-64)"
    assert rows[corridor].learning_rates == SUITE["rand_small"].learning_rates
    told = tmp_path / "suite.json"
    told.write_text(json.dumps({described: {"agent": "D(5)", "learning_rates": [0.1, 0.2]}}))
    row = {row.name: row for row in own_rows(names, told)}[described]
    assert (row.agent, row.learning_rates, row.lifetime_steps) == ("D(5)", (0.1, 0.2), 200)
    arguments = ["--preset", "quick", "--envs", *names, "--suite", str(told), "--seed", "3"]
    config = parse(arguments).config
    assert config.envs == names and config.row(described) == row and config.seed == 3
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.as_json(), allow_nan=False))
    assert parse(["--config", str(path)]).config == config


def test_cohorts_of_ones_own_know_where_their_returns_begin_and_end():
    """A random policy earns 2.5 on the corridor, measured over 12,800 episodes (sd 1.1)."""
    names = (f"{ME}:Corridor", "Catch-bsuite", "short", f"{ME}:Described")
    config = parse(["--preset", "quick", "--envs", *names]).config
    cohorts = build_cohorts(config.rule, config)
    assert [cohort.names for cohort in cohorts] == [(name,) for name in names]
    corridor, catch, short, described = cohorts
    assert corridor.random_return[0] == pytest.approx(2.5, abs=0.06)
    assert corridor.best_return[0] == pytest.approx(2 * corridor.random_return[0])
    assert catch.best_return[0] == 1.0 and -0.8 < catch.random_return[0] < -0.4
    assert (short.random_return[0], short.best_return[0]) == SUITE["short"].return_range
    assert (described.random_return[0], described.best_return[0]) == (2.5, 5.0)
    assert corridor.agent.observation_shape == (3,)


@pytest.mark.parametrize(
    ("envs", "text", "message"),
    [
        (["mars"], None, "Unknown environment 'mars'"),
        ([f"{ME}:Nowhere"], None, "Cannot take .*:Nowhere' for an environment"),
        ([f"{ME}:Untimed"], None, "no max_steps_in_episode, by which lives"),
        (["Pendulum-v1"], None, "continuous actions"),
        (["short"], '{"short": {"agent": "D(4)"}}', "'short' is none of the environments of your"),
        ([f"{ME}:Corridor"], f'{{"{ME}:Corridor": {{"colour": 1}}}}', "'colour' is none of agent"),
        ([f"{ME}:Corridor"], "[]", "must map environments to fields of their rows"),
        ([f"{ME}:Corridor"], "{", "must map environments to fields of their rows"),
    ],
)
def test_what_cannot_be_is_one_sentence_before_anything_is_made(
    envs, text, message, tmp_path, capsys
):
    arguments = ["--preset", "quick", "--run-dir", str(tmp_path / "run"), "--envs", *envs]
    if text is not None:
        (tmp_path / "suite.json").write_text(text)
        arguments += ["--suite", str(tmp_path / "suite.json")]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr().err.strip()
    assert ended.value.code == 2 and "\n" not in said
    assert message.split(".*")[0] in said and message.split(".*")[-1] in said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_rule_of_ones_own_is_discovered_in_ones_own_world(tmp_path):
    """And comes back from its file to the bit, for metatest and as a start."""
    run_dir = tmp_path / "run"
    sizes = "--lifetimes 4 --num-envs 4 --num-steps 5 --num-updates 2 --meta-steps 2"
    sizes += " --validation-updates 4 --validation-seeds 1 --meta-learning-rate 0.01"
    envs = ["--envs", "short", f"{ME}:Described"]
    arguments = ["--preset", "quick", *envs, "--rule", f"{ME}:Mine", *sizes.split()]
    main([*arguments, "--run-dir", str(run_dir)])
    header = lpg.files.storage.load_rule(run_dir / "rule_last.safetensors")
    assert header.architecture == {"rule": f"{ME}:Mine"}
    assert header.params.keys() == {"0"}
    loaded = lpg.load(str(run_dir / "rule_last.safetensors"))
    (eta,) = loaded.params
    assert isinstance(eta, Eta) and 0.0 < abs(float(eta.scale[0]) - 0.1) < 0.05
    np.testing.assert_array_equal(eta.scale, header.params["0"]["scale"])
    record = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])
    assert set(record["environments"]) == {"short", f"{ME}:Described"}
    ours, by_name = choose(
        (str(run_dir / "rule_last.safetensors"), f"{ME}:Mine"), AlgorithmOptions()
    )
    assert (ours.name, by_name.name) == ("mine", f"{ME}:Mine")
    np.testing.assert_array_equal(ours.learner.rule_params[0].scale, eta.scale)
    assert float(by_name.learner.rule_params[0].scale[0]) == np.float32(0.1)
    start = read_initial_rule(parse([*arguments, "--init-rule", str(run_dir)]).config)
    assert start is not None and any(
        int(np.max(x)) == 2 for x in jax.tree.leaves(start.meta_opt_state)
    )
    np.testing.assert_array_equal(start.rule_params[0].scale, eta.scale)


def test_the_examples_are_what_they_say(monkeypatch):
    """One meta-step of the example's rule in the example's world moves all that it can learn."""
    monkeypatch.syspath_prepend(EXAMPLES)
    names = ("own_environment:Corridor",)
    sizes = {"lifetimes": 2, "num_envs": 4, "num_steps": 5, "num_updates": 2}
    config = replace(PRESETS["quick"], envs=names, rows=own_rows(names), **sizes)
    config = replace(with_rule(config, "own_rule:TwoDiscounts"), validate_every=10)
    engine = Engine(config.rule, config)
    (cohort,) = engine.cohorts
    assert (cohort.random_return[0], cohort.best_return[0]) == (np.float32(0.6), 1.0)
    state = engine.init(jax.random.key(0))
    before = jax.device_get(state.rule_params)
    after, metrics = engine.run(state, 1)
    assert float(metrics.meta_steps) == 1
    moved = jax.tree.map(lambda a, b: (np.asarray(a) != b).all(), after.rule_params, before)
    assert all(jax.tree.leaves(moved))


def test_what_is_no_rule_is_refused():
    with pytest.raises(ValueError, match="Cannot take .*:Corridor' for a rule .*'init'"):
        OwnRule(f"{ME}:Corridor")
    with pytest.raises(ValueError, match="is no package.module:Name"):
        OwnRule("mine")


def called():
    raise AssertionError("it was called")


class Incomplete:
    """Not a rule, and nothing that may be built."""

    init = heads = targets = None

    def __init__(self):
        called()


@pytest.mark.parametrize(
    "name, why", [("called", "it is no class"), ("Incomplete", "has no attribute 'loss'")]
)
def test_what_a_files_header_names_is_not_called_unless_it_is_a_rule(name, why):
    with pytest.raises(ValueError, match=why):
        OwnRule(f"{ME}:{name}")
