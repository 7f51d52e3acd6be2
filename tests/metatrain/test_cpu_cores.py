"""How many CPU devices a process gets, each case in a process of its own."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os
os.sched_getaffinity = lambda pid: {0, 1, 5}
from metatrain.devices.cpu_cores import use_every_core
use_every_core()
import jax
print(jax.device_count())
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores are counted otherwise here")
@pytest.mark.parametrize(
    "environment, expected",
    [
        ({}, 3),
        ({"JAX_NUM_CPU_DEVICES": "2"}, 2),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=5"}, 5),
    ],
)
def test_one_device_a_usable_core_unless_told_otherwise(environment, expected):
    env = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"} | environment
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=env, check=True
    )
    assert int(done.stdout) == expected
