"""Two processes on loopback, by the command that users type, against this one."""

import json
import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from lpg.runs.checkpoint import Checkpoints
from metatrain.cli import parse
from metatrain.devices.distributed import Distributed
from metatrain.engine import Engine
from metatrain.train import RunOptions, train
from metatrain.validation import Validation

ARGUMENTS = [
    "--preset", "quick", "--envs", "short", "--lifetimes", "8", "--num-envs", "4",
    "--num-steps", "5", "--num-updates", "2", "--rule.hidden-size", "8",
    "--lifetime-scale", "0.0004", "--log-every", "3", "--checkpoint-every", "6",
    "--validate-every", "6", "--validation-seeds", "1", "--validation-updates", "10",
]  # fmt: skip

# Without the tests' eight devices.
DEVICES = "--xla_force_host_platform_device_count=8"
UNOPTIMISED = os.environ["XLA_FLAGS"].replace(DEVICES, "")


def start(run_dir, meta_steps, *extra):
    """A process with a CPU device for each core."""
    command = [sys.executable, "-m", "metatrain", *ARGUMENTS, "--run-dir", str(run_dir)]
    own = {"XLA_FLAGS": UNOPTIMISED, "JAX_USE_SHARDY_PARTITIONER": "true"}
    return subprocess.Popen(
        [*command, "--meta-steps", str(meta_steps), *extra],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **own},
    )


def two(run_dir, meta_steps):
    """Started, as parts of one run."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    shared = ("--distributed.coordinator", f"localhost:{port}", "--distributed.num-processes", "2")
    return [start(run_dir, meta_steps, *shared, "--distributed.process-id", i) for i in "01"]


def config_of(*extra):
    return parse([*ARGUMENTS, *extra]).config


@pytest.fixture(scope="module")
def runs(tmp_path_factory, shardy):
    """A run of this process on one device, and one of two processes that this one then takes up."""
    folder, config = tmp_path_factory.mktemp("processes"), config_of("--meta-steps", "9")
    started = two(folder / "two", 6)
    engine = Engine(config.rule, config, devices=jax.devices()[:1])
    validation = Validation(config.rule, config, engine.cohorts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metatrain.train.fitting_engine", lambda rule, config: engine)
        patch.setattr("metatrain.train.Validation", lambda *args: validation)
        patch.setattr("metatrain.records.records.draw_all", lambda *args: None)
        options = {"log_every": 3, "checkpoint_every": 6}
        assert train(config, RunOptions(folder / "one", **options)) == 9
        for process in started:
            out, error = process.communicate(timeout=400)
            assert process.returncode == 0, out + error
        assert train(config, RunOptions(folder / "two", **options)) == 9
    return folder


def lines(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_meta_train_as_one_does(runs):
    config = config_of()
    like = jax.eval_shape(Engine(config.rule, config).init, jax.random.key(0))
    one, both = (Checkpoints(runs / name)._restore(6, like) for name in ("one", "two"))
    for a, b in zip(one.lifetimes, both.lifetimes, strict=True):
        for x, y in zip(jax.tree.leaves(a.rollout), jax.tree.leaves(b.rollout), strict=True):
            np.testing.assert_array_equal(x, y)
        np.testing.assert_array_equal(a.trajectory.action, b.trajectory.action)
    rules = [load_file(runs / name / "rule_last.safetensors") for name in ("one", "two")]
    for name, x in rules[0].items():
        # Summed in another order; Adam's steps of 3e-4 amplify that where a gradient is near 0
        # (3e-5 seen).
        np.testing.assert_allclose(x, rules[1][name], rtol=0, atol=1e-4)


@pytest.mark.slow
def test_its_log_is_whole_and_written_once(runs):
    one, both = lines(runs / "one"), lines(runs / "two")
    assert [x["meta_step"] for x in both] == [3, 6, 9]
    for a, b in zip(one, both, strict=True):
        assert a["interactions"] == b["interactions"]
        assert ("validation" in a) == ("validation" in b) == (a["meta_step"] == 6)
        if "validation" in a:
            assert abs(a["validation"]["score"] - b["validation"]["score"]) < 0.1
        assert (
            a["environments"]["short"]["lives_ended"] == b["environments"]["short"]["lives_ended"]
        )


@pytest.mark.slow
def test_a_refused_run_directory_ends_both(runs):
    (runs / "two" / "config.json").write_text("{")
    codes = []
    for process in two(runs / "two", 15):
        _, error = process.communicate(timeout=200)
        codes.append(process.returncode)
        assert "not valid JSON" in error or "Process 0 stopped" in error
    assert 0 not in codes


def test_half_a_description_of_processes_is_refused():
    with pytest.raises(ValueError, match="together"):
        Distributed(coordinator="localhost:1234")
