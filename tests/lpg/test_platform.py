"""Which platform a program is traced for, and that nobody's word outlasts its block."""

import threading

import jax
import jax.numpy as jnp
import pytest

from lpg.platform import for_platform, platform, traced_for
from lpg.precision import is_narrow


def test_the_default_is_the_default_devices():
    assert platform() == jax.devices()[0].platform == "cpu"


def test_blocks_nest_and_end_with_an_error_too():
    with for_platform("tpu"):
        with pytest.raises(KeyError), for_platform("gpu"):
            assert platform() == "gpu"
            raise KeyError
        assert platform() == "tpu"
    assert platform() == "cpu"


def test_a_thread_beside_hears_nothing_of_it():
    heard = []
    with for_platform("tpu"):
        thread = threading.Thread(target=lambda: heard.append(platform()))
        thread.start()
        thread.join()
    assert heard == ["cpu"]


def test_a_function_is_traced_for_its_platform_wherever_it_is_called_from():
    def program(x, *, scale):
        """Of this platform."""
        return x * scale if platform() == "gpu" else x

    traced = traced_for("gpu", program)
    assert traced(2, scale=3) == 6 and program(2, scale=3) == 2
    with for_platform("tpu"):
        assert float(jax.jit(lambda x: traced(x, scale=3.0))(jnp.float32(2))) == 6.0
        assert platform() == "tpu"
    assert (traced.__name__, traced.__doc__) == ("program", "Of this platform.")


@pytest.mark.parametrize(
    ("precision", "device", "narrow"),
    [
        ("float32", "cpu", False), ("float32", "gpu", False),
        ("bfloat16", "cpu", True), ("bfloat16", "tpu", True),
        ("auto", "cpu", False), ("auto", "tpu", True), ("auto", "cuda", True),
    ],
)  # fmt: skip
def test_auto_is_narrow_except_on_a_cpu(precision, device, narrow):
    with for_platform(device):
        assert is_narrow(precision) is narrow
