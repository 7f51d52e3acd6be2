"""The engine as a whole: movement, determinism, resets, bit-exact resume, bad input."""

import dataclasses
import json
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import SHARED, TINY

from lpg.files.storage import load_rule
from lpg.runs.checkpoint import CheckpointError, Checkpoints
from metatrain.engine import REBIRTH, Engine, skipped_in_a_row
from metatrain.memory import needed_bytes
from metatrain.meta_optimizer import meta_optimizer
from metatrain.metrics import as_record
from metatrain.records.run_directory import RunDirectory, RunDirectoryError
from metatrain.train import RunOptions, train
from metatrain.validation import Validation


def leaves(state):
    return [
        np.asarray(jax.random.key_data(x))
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
        else np.array(x)
        for x in jax.tree.leaves(state)
    ]


def assert_same(a, b):
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.fixture(scope="module")
def engine(shardy):
    return Engine(SHARED.rule, SHARED)


@pytest.fixture(scope="module")
def key():
    return jax.random.key(3)


@contextmanager
def compilations():
    """Names of the programs that were compiled, or taken from the cache of compiled ones."""
    names = []

    def listen(event, seconds, fun_name="", **others):
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(fun_name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


def test_one_program_is_compiled_whatever_it_is_called_with(engine, key):
    """For its memory; a fresh state and one that a call returned; one meta-step and two. None where
    another test has compiled it before."""
    state = engine.init(key)
    with compilations() as names:
        assert needed_bytes(engine) > 0
        for steps in (1, 2):
            state, _ = engine.run(state, steps)
    assert [name for name in names if "_run" in name] in (["jit(_run)"], [])


def test_every_rule_parameter_moves(engine, key):
    before = jax.device_get(engine.init(key).rule_params)
    state, _ = engine.run(engine.init(key), 3)
    for path, x in jax.tree_util.tree_leaves_with_path(state.rule_params):
        old = before
        for part in path:
            old = old[part.key]
        assert not np.array_equal(np.asarray(x), old), path


def test_agents_and_critics_move_and_chunks_do_not_matter(engine, key):
    first = jax.device_get(engine.init(key))
    whole, _ = engine.run(engine.init(key), 4)
    state = engine.init(key)
    for _ in range(2):
        state, _ = engine.run(state, 2)
    assert_same(whole, state)
    for before, after in zip(first.lifetimes, whole.lifetimes, strict=True):
        for name in ("agent", "critic"):
            old = jax.tree.leaves(getattr(before, name).params)
            new = jax.tree.leaves(getattr(after, name).params)
            for x, y in zip(old, new, strict=True):
                assert not np.array_equal(x, np.asarray(y)), name


def test_lives_end_are_scored_and_start_again(engine, key):
    """lifetime_scale makes lives of 8 to 30 windows; 40 windows see ends."""
    state, metrics = engine.run(engine.init(key), 40)
    record = as_record(metrics, state.bandits, engine.names, SHARED, 40)
    short = record["environments"]["short"]
    assert short["lives_ended"] >= 2 and short["final_return"] is not None
    counts = [int(b.count.sum()) for b in state.bandits]
    assert sum(counts) > 0
    for cohort, lifetimes in zip(engine.cohorts, state.lifetimes, strict=True):
        age, duration = np.asarray(lifetimes.age), np.asarray(lifetimes.duration)
        assert (age < duration).all() and (age >= 0).all()
        expected = cohort.lifetime_windows[cohort.environment_index]
        np.testing.assert_array_equal(duration, expected)


def test_newborns_draw_from_a_stream_of_their_own(engine, key):
    """Gamma and beta_0 of whoever earns and is born in 40 meta-steps, by the words of its key."""
    state, births = engine.init(key), []
    for meta_step in range(40):
        state, _ = engine.run(state, 1)
        for cohort, lifetimes in zip(engine.cohorts, state.lifetimes, strict=True):
            for slot in np.flatnonzero(np.asarray((lifetimes.age == 0) & lifetimes.earns)):
                words = jax.random.fold_in(state.key, REBIRTH)
                words = jax.random.fold_in(words, cohort.first_index + int(slot))
                keys = jax.random.split(jax.random.fold_in(words, meta_step), 9)
                drawn = [
                    jax.random.choice(keys[2], jnp.array(SHARED.gammas)),
                    jax.random.choice(keys[7], jnp.array(SHARED.policy_entropy_costs)),
                ]
                found = lifetimes.hypers.gamma[slot], lifetimes.policy_entropy_cost[slot]
                np.testing.assert_allclose(found, drawn)
                births.append(tuple(map(float, found)))
    assert len(births) > 20 and len(set(births)) == 4


def test_moments_of_the_advantage_are_carried_from_window_to_window(engine, key):
    state = engine.init(key)
    before = [np.asarray(lifetimes.age) for lifetimes in state.lifetimes]
    state, _ = engine.run(state, 3)
    for age, lifetimes in zip(before, state.lifetimes, strict=True):
        same = np.asarray(lifetimes.age) == age + 3
        assert same.any()
        weight = np.asarray(lifetimes.advantage_stats.weight)[same]
        np.testing.assert_allclose(weight, 1 - SHARED.advantage_decay**3, rtol=1e-5)


def test_record_is_plain_json_with_the_promised_names(engine, key):
    state, metrics = engine.run(engine.init(key), 2)
    record = json.loads(json.dumps(as_record(metrics, state.bandits, engine.names, SHARED, 2)))
    assert record["meta_step"] == 2
    assert record["interactions"] == 2 * 24 * 4 * 5 * 2
    assert set(record["return"]) == set(SHARED.envs)
    for values in record["environments"].values():
        assert abs(sum(values["bandit"]) - 1) < 1e-4


def test_non_finite_meta_gradients_change_nothing_and_are_counted():
    optimizer = meta_optimizer(SHARED)
    params = {"w": jnp.ones(3)}
    state = optimizer.init(params)
    updates, state = optimizer.update({"w": jnp.array([1.0, jnp.nan, 0.0])}, state, params)
    np.testing.assert_array_equal(updates["w"], np.zeros(3))
    assert int(state.notfinite_count) == 1 and int(state.total_notfinite) == 1
    updates, state = optimizer.update({"w": jnp.ones(3)}, state, params)
    assert np.all(np.asarray(updates["w"]) != 0) and int(state.notfinite_count) == 0


def test_checkpoint_restores_every_leaf_and_run_goes_on_alike(engine, key, tmp_path):
    state, _ = engine.run(engine.init(key), 2)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(2, state)
    kept = leaves(state)
    restored = Checkpoints(tmp_path).restore_newest(jax.eval_shape(engine.init, key))
    assert restored is not None and restored.step == 2
    for x, y in zip(kept, leaves(restored.state), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
    assert_same(engine.run(state, 2)[0], engine.run(restored.state, 2)[0])


def without_times(path):
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        del record["seconds"], record["interactions_per_second"]
        record.get("validation", {}).pop("seconds", None)
    return records


def assert_exported_what_validated_best(run_dir):
    lines = without_times(run_dir / "metrics.jsonl")
    scores = {x["meta_step"]: x["validation"]["score"] for x in lines if "validation" in x}
    assert list(scores) == [4, 8]
    provenance = load_rule(run_dir / "rule.safetensors").provenance
    best = max(scores, key=scores.__getitem__)
    assert provenance["meta_step"] == best
    assert provenance["validation_score"] == scores[best] == lines[-1]["validation"]["best_score"]
    assert load_rule(run_dir / "rule_last.safetensors").provenance["meta_step"] == 8


def test_resumed_run_equals_uninterrupted_one(engine, tmp_path, monkeypatch):
    """The second run is stopped at 4 of 8, and a log line from beyond its checkpoint is planted.

    Both validate twice, by programs that are compiled once.
    """
    validation = Validation(SHARED.rule, SHARED, engine.cohorts)
    monkeypatch.setattr("metatrain.train.fitting_engine", lambda rule, config: engine)
    monkeypatch.setattr("metatrain.train.Validation", lambda *args: validation)
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert train(SHARED, RunOptions(whole, log_every=2, checkpoint_every=8)) == 8
    monkeypatch.setattr("metatrain.records.records.draw_all", lambda *args: None)  # as the first
    options = {"log_every": 2, "checkpoint_every": 4}
    train(dataclasses.replace(SHARED, meta_steps=4), RunOptions(halves, **options))
    with (halves / "metrics.jsonl").open("a") as log:
        log.write('{"meta_step": 6, "bogus": 1}\n{"meta_st')
    assert train(SHARED, RunOptions(halves, **options)) == 8
    for name in ("rule.safetensors", "rule_last.safetensors"):
        assert (whole / name).read_bytes() == (halves / name).read_bytes()
    assert_exported_what_validated_best(whole)
    assert without_times(whole / "metrics.jsonl") == without_times(halves / "metrics.jsonl")
    for name in ("returns.png", "bandit.png", "loss.png", "validation.png", "config.json"):
        assert (whole / name).stat().st_size > 0
    assert list((whole / "tensorboard").iterdir())


def test_other_config_is_refused_with_the_fields_that_differ(tmp_path):
    RunDirectory(tmp_path, TINY)
    with pytest.raises(RunDirectoryError, match=r"num_envs \(4 -> 6\)"):
        RunDirectory(tmp_path, dataclasses.replace(TINY, num_envs=6))
    RunDirectory(tmp_path, dataclasses.replace(TINY, meta_steps=99))  # more of the same is fine


def test_config_from_before_kinds_of_rules_is_lpgs(tmp_path):
    RunDirectory(tmp_path, TINY)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["rule"]["rule"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    RunDirectory(tmp_path, TINY)
    assert json.loads((tmp_path / "config.json").read_text()) == TINY.as_json()


@pytest.mark.parametrize("text", ["{", "[]"])
def test_damaged_config_is_refused_and_left_as_it_is(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RunDirectoryError, match="not valid JSON"):
        RunDirectory(tmp_path, TINY)
    assert (tmp_path / "config.json").read_text() == text


def test_unwritable_run_directory_is_one_sentence(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(RunDirectoryError, match="choose one that is writable"):
        RunDirectory(blocker / "run", TINY)


def test_failed_write_leaves_the_older_checkpoint(engine, key, tmp_path, monkeypatch):
    state, _ = engine.run(engine.init(key), 1)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints._manager, "save", full)
    with pytest.raises(CheckpointError, match="the disk is full"):
        checkpoints.save(2, state)
    restored = Checkpoints(tmp_path).restore_newest(jax.eval_shape(engine.init, key))
    assert restored is not None and restored.step == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"envs": ("nowhere",)}, "Unknown environment 'nowhere'"),
        ({"lifetimes": 7}, "multiple of the 4 environments"),
        ({"num_envs": 0}, "num_envs must be at least 1"),
        ({"gammas": (1.5,)}, "gammas"),
        ({"meta_learning_rate": -1.0}, "must be positive"),
    ],
)
def test_config_refuses_nonsense(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **change)


def test_skip_counter_reads_the_state(engine, key):
    assert skipped_in_a_row(engine.init(key)) == 0
