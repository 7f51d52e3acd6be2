"""Rules outside this project: the exported program, and NumPy from the tensors alone."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lpg
from lpg.files import export
from lpg.files.storage import save_rule
from lpg.rules.lpg import LPG
from lpg.rules.lpg_v import LPGV

HERE = Path(__file__).parent
PACKAGES = Path(sysconfig.get_paths()["purelib"])

# -I and -S: neither this folder nor the paths of editable installs; None blocks what is left.
FOREIGN = f"""
import runpy, sys
sys.path += [{str(PACKAGES)!r}]
for name in ("envs", "lpg", "metatrain", "metatest"):
    sys.modules[name] = None
"""
RUN_EXPORTED = """
import jax, numpy as np
program, inputs, out = sys.argv[1:]
exported = jax.export.deserialize(bytearray(open(program, "rb").read()))
with np.load(inputs) as data:
    np.savez(out, *exported.call(*(data[name] for name in data.files)))
"""
RUN_NUMPY = """
for name in ("jax", "flax"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_foreign(code, *arguments):
    command = [sys.executable, "-I", "-S", "-c", FOREIGN + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr


def random_inputs(rule, num_steps, rows, seed=0):
    rng = np.random.default_rng(seed)
    heads = rule.heads(1)
    return {
        "reward": rng.normal(size=(num_steps, rows)),
        "not_done": rng.random((num_steps, rows)) > 0.2,
        "gamma": rng.uniform(0.9, 1, rows),
        "action_prob": rng.random((num_steps, rows)),
        "prediction": 2 * rng.normal(size=(num_steps + 1, rows, heads.prediction)),
        "value": 2 * rng.normal(size=(num_steps + 1, rows, heads.value)),
    }


def as_arguments(arrays):
    """What the exported program takes: float32, absent inputs left out."""
    return {k: v.astype(np.float32) for k, v in arrays.items() if v.shape[-1]}


def own_targets(rule, params, arrays):
    inputs = {k: jnp.asarray(v, jnp.float32) for k, v in arrays.items()}
    targets = jax.jit(rule.targets)(params, lpg.RuleInputs(**inputs))
    return [np.asarray(getattr(targets, name)) for name in rule.results]


@pytest.fixture(
    scope="module", params=["lpg-tabular", pytest.param("lpg_v", marks=pytest.mark.slow)]
)
def rule_file(request, tmp_path_factory):
    """The shipped rule by its name, and a random LPG-V."""
    if request.param == "lpg-tabular":
        return request.param
    rule = LPGV(hidden_size=24, lam=0.8)
    leaves, tree = jax.tree.flatten(rule.init(jax.random.key(0)))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [x + 0.3 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    path = tmp_path_factory.mktemp("rule") / "rule.safetensors"
    params = jax.device_get(jax.tree.unflatten(tree, noisy))
    save_rule(path, params, rule.architecture(), {})
    return str(path)


def assert_same(expected, path, tolerance):
    with np.load(path) as data:
        found = [data[name] for name in data.files]
    for a, b in zip(expected, found, strict=True):
        assert np.std(a) > 1e-3, "flat: nothing would be tested"
        np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance)


def test_exported_program_needs_none_of_our_code(rule_file, tmp_path, monkeypatch, capsys):
    program = tmp_path / "rule.stablehlo"
    monkeypatch.setattr("sys.argv", ["export", rule_file, str(program)])
    export.main()
    assert f"{program.stat().st_size:,} bytes" in capsys.readouterr().out
    rule, params = lpg.load(rule_file)
    arrays = random_inputs(rule, 20, 7)
    np.savez(tmp_path / "in.npz", **as_arguments(arrays))
    run_foreign(RUN_EXPORTED, program, tmp_path / "in.npz", tmp_path / "out.npz")
    assert_same(own_targets(rule, params, arrays), tmp_path / "out.npz", 1e-6)


def test_exported_program_takes_any_size_and_is_for_all_platforms(rule_file):
    rule, params = lpg.load(rule_file)
    exported = jax.export.deserialize(bytearray(export.exported_rule(rule, params)))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    for num_steps, rows in [(1, 1), (5, 64)]:
        arrays = random_inputs(rule, num_steps, rows, seed=rows)
        found = exported.call(*as_arguments(arrays).values())
        for a, b in zip(own_targets(rule, params, arrays), found, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)


def test_numpy_alone_computes_the_rule_from_its_file(rule_file, tmp_path):
    rule, params = lpg.load(rule_file)
    name = rule_file if Path(rule_file).exists() else lpg_file(rule_file)
    arrays = random_inputs(rule, 20, 7)
    np.savez(tmp_path / "in.npz", **as_arguments(arrays))
    script = HERE / "numpy_rule.py"
    run_foreign(RUN_NUMPY, script, name, tmp_path / "in.npz", tmp_path / "out.npz")
    assert_same(own_targets(rule, params, arrays), tmp_path / "out.npz", 1e-5)


def lpg_file(name):
    return Path(lpg.__file__).parent / "shipped" / f"{name}.safetensors"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["no-such-rule", "out"], 2, "No rule named 'no-such-rule'"),
        (["lpg-tabular", "absent/folder/out"], 1, "choose another place"),
    ],
)
def test_bad_input_is_one_sentence(monkeypatch, tmp_path, capsys, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["export", *arguments])
    with pytest.raises(SystemExit) as caught:
        export.main()
    error = capsys.readouterr().err.strip()
    assert caught.value.code == code and message in error and "\n" not in error


def test_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    rule = LPG(4, 3, 2)
    with pytest.raises(ValueError, match=r"lpg-engine\[export\]"):
        export.exported_rule(rule, rule.init(jax.random.key(0)))
