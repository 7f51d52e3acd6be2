"""JAX's switches that numbers depend on are refused by name; the others are let be."""

import os
import subprocess
import sys

import jax
import pytest

from lpg.runs.settings import LEFT_ALONE, NEEDED, refuse_platforms, refuse_settings

OTHERS = {
    "jax_enable_x64": True,
    "jax_default_prng_impl": "rbg",
    "jax_threefry_partitionable": False,
    "jax_random_seed_offset": 3,
    "jax_default_matmul_precision": "highest",
    "jax_numpy_dtype_promotion": "strict",
    "jax_disable_jit": True,
    "jax_debug_nans": True,
    "jax_debug_infs": True,
    "jax_debug_key_reuse": True,
    "jax_transfer_guard": "disallow",
    "jax_transfer_guard_host_to_device": "disallow",
    "jax_transfer_guard_device_to_host": "disallow_explicit",
    "jax_transfer_guard_device_to_device": "disallow",
}


USUAL = dict(jax.config.values)


def test_what_jax_has_by_default_is_taken():
    refuse_settings(USUAL, {"JAX_PLATFORMS": "cpu"})
    refuse_settings({}, {})  # a JAX without these switches


def test_every_switch_has_its_case_here():
    assert OTHERS.keys() == NEEDED.keys()


@pytest.mark.parametrize("name", NEEDED)
def test_a_switch_that_results_depend_on_is_refused_by_name(name):
    with pytest.raises(ValueError) as refused:
        refuse_settings({**USUAL, name: OTHERS[name]}, {})
    assert f"{name.upper()} is set to {OTHERS[name]}," in str(refused.value)


@pytest.mark.parametrize("name, value", [("jax_log_compiles", True), ("jax_transfer_guard", "log")])
def test_what_changes_no_number_is_let_be(name, value):
    refuse_settings({**USUAL, name: value}, {})


@pytest.mark.parametrize(
    "error, said",
    [
        (RuntimeError("Unknown backend 'tpu'"), "Unknown backend 'tpu'"),
        (AssertionError(), "it has"),
    ],
)
def test_devices_that_are_not_there(monkeypatch, error, said):
    monkeypatch.setattr(jax, "devices", lambda: raises(error))
    with pytest.raises(ValueError, match=rf"{said}.*JAX_PLATFORMS is"):
        refuse_platforms()


def raises(error):
    raise error


@pytest.mark.parametrize(
    "name, value", [("JAX_ENABLE_X64", "perhaps"), ("JAX_DEFAULT_PRNG_IMPL", "rbg")]
)
@pytest.mark.parametrize("command", ["metatrain", "metatest"])
def test_commands_refuse_at_the_start_with_one_sentence(command, name, value):
    """Also a value that JAX itself does not take."""
    done = subprocess.run(
        [sys.executable, "-m", command, "--version"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), name: value},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"{command}: ") and name in done.stderr and value in done.stderr


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_a_switch_whose_usual_value_depends_on_jaxs_version_is_not_to_be_set(name):
    assert name.lower() in jax.config.values  # else nothing would be set by it
    with pytest.raises(ValueError, match=rf"{name} is set to 1,.*; unset it and"):
        refuse_settings(USUAL, {name: "1"})
