"""Rule files: bit-exact, deterministic, and refused in one sentence when anything is wrong."""

import json
import os

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from lpg.files import storage
from lpg.files.storage import RuleFileError, load_rule, save_rule, shipped_rules
from lpg.rules.lpg import LPG

RULE = LPG(hidden_size=4, prediction_size=3, embedding_size=2)


@pytest.fixture(scope="module")
def params():
    return jax.device_get(RULE.init(jax.random.key(0)))


@pytest.fixture
def path(tmp_path, params):
    file = tmp_path / "rule.safetensors"
    save_rule(file, params, RULE.architecture(), {"meta_step": 3})
    return file


def test_round_trip_is_bit_exact(path, params):
    loaded = load_rule(path)
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(loaded.params), strict=True):
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_array_equal(a, b)
    assert jax.tree.structure(params) == jax.tree.structure(loaded.params)
    assert LPG.from_architecture(loaded.architecture) == RULE
    assert loaded.provenance == {"meta_step": 3}


def test_scalars_and_what_is_not_contiguous_come_back_as_they_were(tmp_path):
    given = {
        "scalar": np.float32(2.0),
        "deep": {"scalar": np.asarray(-1.5, np.float32)},
        "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "empty": np.zeros((0, 3), np.float32),
    }
    save_rule(tmp_path / "rule.safetensors", given, RULE.architecture(), {})
    found = load_rule(tmp_path / "rule.safetensors").params
    for a, b in zip(jax.tree.leaves(given), jax.tree.leaves(found), strict=True):
        assert np.shape(a) == np.shape(b)
        np.testing.assert_array_equal(a, b)


def test_same_rule_gives_same_bytes_and_plain_safetensors(path, params, tmp_path):
    again = tmp_path / "again.safetensors"
    save_rule(again, params, RULE.architecture(), {"meta_step": 3})
    assert again.read_bytes() == path.read_bytes()
    tensors = load_file(path)  # by the library alone, without this project's reader
    np.testing.assert_array_equal(tensors["lstm.wh"], params["lstm"]["wh"])
    assert sorted(f.name for f in tmp_path.iterdir()) == ["again.safetensors", "rule.safetensors"]


def test_every_flipped_byte_is_noticed(path):
    whole = path.read_bytes()
    positions = np.random.default_rng(0).choice(len(whole), 60, replace=False)
    for position in [*positions, 0, len(whole) - 1]:
        data = bytearray(whole)
        data[position] ^= 4
        path.write_bytes(bytes(data))
        try:
            loaded = load_rule(path)
        except RuleFileError:
            continue
        # Only blanks that pad the header may change unnoticed.
        assert chr(whole[position]) == " ", position
        assert loaded.provenance == {"meta_step": 3}


def refused(path, message):
    with pytest.raises(RuleFileError, match=message) as caught:
        load_rule(path)
    assert "\n" not in str(caught.value)


def test_refusals(path, tmp_path, params, monkeypatch):
    whole = path.read_bytes()
    refused(tmp_path / "missing.safetensors", "Cannot read")
    refused(tmp_path, "is no regular file")
    path.write_bytes(whole[:-10])
    refused(path, "damaged or not a safetensors")
    path.write_bytes(b"")
    refused(path, "damaged or not a safetensors")
    path.write_bytes(b"PK\x03\x04 not a rule at all")
    refused(path, "damaged or not a safetensors")
    save_file({"w": np.ones(3, np.float32)}, path)
    refused(path, "not a rule")
    path.write_bytes(whole)
    monkeypatch.setattr(storage, "MAX_BYTES", 10)
    refused(path, "more than the 10")


MALFORMED = [
    "[]", "null", "3", '"x"', '{"__metadata__": null}', '{"__metadata__": [1]}', "[" * 100_000,
    '{"a":' * 100_000, '{"__metadata__": {"format": 1}}', "\udcff",
]  # fmt: skip


def with_header(path, header):
    data = header.encode("utf-8", "surrogateescape")
    path.write_bytes(len(data).to_bytes(8, "little") + data)


@pytest.mark.parametrize("header", MALFORMED)
def test_a_header_that_is_no_object_is_refused(path, header):
    with_header(path, header)
    refused(path, "damaged or not a safetensors|is a safetensors file but not a rule")


def test_a_header_of_megabytes_is_not_parsed(path, monkeypatch):
    with_header(path, '{"a": 0' + ', "a": 0' * 200_000 + "}")
    monkeypatch.setattr(storage, "_header", lambda data: pytest.fail("was parsed"))
    refused(path, "damaged or not a safetensors")
    path.write_bytes((2**63).to_bytes(8, "little") + b"{}")
    refused(path, "damaged or not a safetensors")


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_mutated_headers_are_refused_or_mean_the_same(path, data):
    """Characters put in, taken out and changed in the header of a file that is intact."""
    whole = path.read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header = bytearray(whole[8 : 8 + size])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(header) - 1))
        new = data.draw(st.sampled_from(list(b'"{}[],:0x\\ \x00\xff')))
        change = data.draw(st.sampled_from(["put", "take", "set"]))
        header[at : at + (change != "put")] = b"" if change == "take" else bytes([new])
    mutated = path.with_name("mutated.safetensors")
    mutated.write_bytes(len(header).to_bytes(8, "little") + bytes(header) + whole[8 + size :])
    try:
        loaded = load_rule(mutated)
    except RuleFileError as error:
        assert "\n" not in str(error)
    else:
        assert loaded.provenance == {"meta_step": 3}


def test_what_is_no_file_and_no_path_is_refused_at_once(tmp_path):
    """A FIFO would be waited for until someone writes."""
    fifo = tmp_path / "fifo.safetensors"
    os.mkfifo(fifo)
    refused(fifo, "is no regular file")
    refused("/dev/zero", "is no regular file")
    for name in ("a\0b.safetensors", "a\ud800.safetensors"):
        refused(name, "Cannot read the rule file 'a")
    refused("a\0b", "No rule named")
    refused("x" * 5000, "No rule named")
    refused("x" * 5000 + ".safetensors", "Cannot read")


@pytest.mark.parametrize(
    ("architecture", "names", "message"),
    [
        (None, ["w"], "no rule's"),
        ("not JSON", ["w"], "no rule's"),
        ('["lpg"]', ["w"], r"\['lpg'\] is no JSON object|no JSON object"),
        ("{}", ["a", "a.b"], "is a tensor and holds others"),
        ("{}", ["a.b", "a.b.c"], "is a tensor and holds others"),
    ],
)
def test_a_forged_file_with_the_right_checksum_is_refused(path, architecture, names, message):
    metadata = {"format": storage.FORMAT, "format_version": storage.VERSION, "provenance": "{}"}
    metadata |= {} if architecture is None else {"architecture": architecture}
    arrays = {name: np.ones(2, np.float32) for name in names}
    metadata["sha256"] = storage._digest(arrays, metadata)
    save_file(arrays, path, metadata)
    refused(path, message)


def test_a_directory_does_not_hide_a_shipped_rule(tmp_path, monkeypatch):
    (tmp_path / "lpg-15").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_rule("lpg-15").architecture["rule"] == "lpg"


def test_unknown_name_lists_the_shipped_rules():
    assert "lpg-tabular" in shipped_rules()
    with pytest.raises(RuleFileError, match="lpg-tabular"):
        load_rule("no-such-rule")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_rules_are_neither_written_nor_read(path, params, bad):
    broken = jax.tree.map(np.array, params)
    broken["lstm"]["b"][0] = bad
    before = path.read_bytes()
    with pytest.raises(RuleFileError, match="not finite"):
        save_rule(path, broken, RULE.architecture(), {})
    assert path.read_bytes() == before


def test_other_dtype_and_other_version_are_refused(path, params, monkeypatch):
    with pytest.raises(RuleFileError, match="float32"):
        save_rule(path, jax.tree.map(np.float64, params), RULE.architecture(), {})
    monkeypatch.setattr(storage, "VERSION", "2")
    refused(path, "format version '1'")


def test_failed_write_leaves_the_old_file(path, params, monkeypatch):
    before = path.read_bytes()

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        save_rule(path, params, RULE.architecture(), {"meta_step": 4})
    assert path.read_bytes() == before
    assert [f.name for f in path.parent.iterdir()] == ["rule.safetensors"]


def test_foreign_architecture_is_one_sentence():
    with pytest.raises(ValueError, match="not 'lpg'"):
        LPG.from_architecture({"rule": "other"})
    with pytest.raises(ValueError, match="not one this version knows"):
        LPG.from_architecture(json.loads('{"rule": "lpg", "colour": 3}'))


def test_a_path_is_preferred_to_a_shipped_name_only_where_it_leads_somewhere(
    path, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert load_rule("lpg-tabular").provenance != {"meta_step": 3}
    path.rename("lpg-tabular")  # a file without a suffix
    assert load_rule("lpg-tabular").provenance == {"meta_step": 3}
    refused("./no-such-rule/lpg-tabular", "Cannot read")
    refused("no-such-rule.safetensors", "Cannot read")


def test_what_is_written_is_for_all_to_read_and_replaces_what_was_there(tmp_path):
    """mkstemp's own mode would keep a rule from colleagues."""
    target = tmp_path / "note"
    for data in (b"first, and longer", b"second"):
        storage.write_atomically(target, data)
        assert target.read_bytes() == data
        assert target.stat().st_mode & 0o777 == 0o644
    assert [f.name for f in tmp_path.iterdir()] == ["note"]


def test_nowhere_to_write_is_an_os_error_that_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError):
        storage.write_atomically(tmp_path / "absent" / "note", b"")
    assert list(tmp_path.iterdir()) == []


def test_a_header_changed_by_hand_does_not_match_its_checksum(path):
    """Of the same length, so that the format itself stays intact."""
    data = path.read_bytes()
    path.write_bytes(data.replace(b'meta_step\\": 3', b'meta_step\\": 9'))
    assert path.read_bytes() != data
    refused(path, "does not match its checksum")
