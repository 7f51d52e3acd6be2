"""What the published presets would take on an H100 is no longer than it was; minutes each."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "compile_for_gpu.py"
# ms a meta-step at least, GB of temporaries; docs/performance.md, by the same script.
FLOORS = {
    "tabular": (["--preset", "tabular"], 75.3, 8.7),
    "rand_very_dense": (
        ["--preset", "paper", "--envs", "rand_very_dense", "--lifetimes", "64"], 234.9, 8.5,
    ),
    "rand_dense, rand_long_horizon": (
        ["--preset", "paper", "--envs", "rand_dense", "rand_long_horizon", "--lifetimes", "128"],
        94.9, 4.9,
    ),
    "paper": (["--preset", "paper"], 443.1, 23.4),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOORS)
def test_floors_have_not_grown(name, tmp_path):
    pytest.importorskip("jax_cuda13_plugin", reason="needs the extra 'hopper'")
    arguments, milliseconds, gigabytes = FLOORS[name]
    output = tmp_path / "found.json"
    # The tests' own flags leave out passes that this is about.
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS" and k[:4] != "JAX_"}
    command = [sys.executable, str(SCRIPT), *arguments, "--output", str(output)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(output.read_text())
    assert found["milliseconds"] < 1.05 * milliseconds
    assert found["temporary_bytes"] < 1.05e9 * gigabytes
