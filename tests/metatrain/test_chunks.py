"""How many chunks lifetimes are taken in, by memory and by what was asked for."""

import dataclasses

import jax
import pytest
from tiny import SHARED

from metatrain import memory
from metatrain.devices import chunks
from metatrain.devices.chunks import choose_chunks, possible_chunks
from metatrain.devices.mesh import UnevenLifetimesError
from metatrain.engine import Engine
from metatrain.memory import (
    MemoryTooSmallError,
    available_bytes,
    fitting_engine,
    free_bytes,
)

FORETOLD = {1: 1000, 4: 400}  # by the trace of an engine with so many chunks


def engine(num_chunks):
    return Engine(SHARED.rule, SHARED, devices=jax.devices()[:1], num_chunks=num_chunks)


@pytest.fixture(scope="module")
def engines():
    return {n: engine(n) for n in (1, 4)}


@pytest.fixture
def sizes(engines, monkeypatch):
    """Bytes that programs are said to need; engines are made of these two, memory is plenty."""
    needed = {n: foretold + 100 for n, foretold in FORETOLD.items()}
    monkeypatch.setattr(memory, "foretold_bytes", lambda engine: FORETOLD[engine.num_chunks])
    made = lambda rule, config, num_chunks=1: engines[num_chunks]  # noqa: E731
    monkeypatch.setattr(memory, "Engine", made)
    monkeypatch.setattr(memory, "possible_chunks", lambda cohorts, devices: [1, 4])
    monkeypatch.setattr(memory, "free_bytes", lambda engine: None)
    monkeypatch.setattr(memory, "needed_bytes", lambda engine: needed[engine.num_chunks])
    return needed


def has(monkeypatch, available):
    monkeypatch.setattr(memory, "available_bytes", lambda _: available)


def test_the_compiler_decides_the_number_of_chunks(sizes, monkeypatch):
    """Where the trace foretold too little."""
    monkeypatch.setattr(memory, "foretold_bytes", lambda engine: 0)
    for available, expected in [(sizes[1], 1), (sizes[1] - 1, 4), (sizes[4], 4), (None, 1)]:
        has(monkeypatch, available)
        assert fitting_engine(SHARED.rule, SHARED).num_chunks == expected
    has(monkeypatch, sizes[4] - 1)
    with pytest.raises(MemoryTooSmallError, match="--lifetimes-per-chunk"):
        fitting_engine(SHARED.rule, SHARED)


def test_one_compilation_decides_where_the_trace_foretold_it(engines, sizes, monkeypatch):
    asked = []

    def needed(engine):
        asked.append(engine.num_chunks)
        return sizes[engine.num_chunks]

    monkeypatch.setattr(memory, "needed_bytes", needed)
    has(monkeypatch, int(0.9 * sizes[1]))
    assert fitting_engine(SHARED.rule, SHARED).num_chunks == 4
    assert set(asked) == {4}
    asked.clear()
    has(monkeypatch, sizes[4] // 3)
    with pytest.raises(MemoryTooSmallError, match="device that has"):
        fitting_engine(SHARED.rule, SHARED)
    assert asked == []


def test_the_chunks_asked_for_are_all_there_is(engines, sizes, monkeypatch):
    config = dataclasses.replace(SHARED, lifetimes_per_chunk=24)
    asked = Engine(config.rule, config, devices=jax.devices()[:1])
    monkeypatch.setattr(memory, "Engine", lambda rule, config: asked)
    monkeypatch.setattr(memory, "needed_bytes", lambda engine: sizes[1])
    has(monkeypatch, sizes[1] - 1)
    with pytest.raises(MemoryTooSmallError):
        fitting_engine(config.rule, config)


def test_memory_that_others_have_taken_is_not_counted_on(engines, sizes, monkeypatch):
    """Before anything is compiled, and no more chunks are taken: a run keeps their number."""
    has(monkeypatch, 2 * sizes[1])
    monkeypatch.setattr(memory, "needed_bytes", lambda engine: pytest.fail("it was compiled"))
    monkeypatch.setattr(memory, "free_bytes", lambda engine: FORETOLD[engine.num_chunks] - 1)
    with pytest.raises(MemoryTooSmallError, match=r"GB are free; end other programs, or give"):
        fitting_engine(SHARED.rule, SHARED)
    monkeypatch.setattr(memory, "free_bytes", lambda engine: FORETOLD[engine.num_chunks])
    monkeypatch.setattr(memory, "needed_bytes", lambda engine: sizes[engine.num_chunks])
    assert fitting_engine(SHARED.rule, SHARED).num_chunks == 1


def test_a_containers_limit_is_what_a_cpu_has(engines, tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "LIMITS", (str(limit), str(tmp_path / "none")))
    limit.write_text("1000000\n")
    assert available_bytes(engines[1]) == 900_000
    limit.write_text("max\n")
    assert available_bytes(engines[1]) > 1e9
    assert 0 < free_bytes(engines[1]) < available_bytes(engines[1]) / 0.9


def test_cpus_take_tables_as_their_caches_like(engines, monkeypatch):
    tables, networks = ((c,) for c in engines[1].cohorts)  # 16 lifetimes of 4 environments
    for rows, expected in [(64, 1), (63, 2), (32, 2), (16, 4), (1, 16)]:
        monkeypatch.setattr(chunks, "CPU_ROWS", rows)
        assert choose_chunks(SHARED, tables, 1, "cpu") == expected
    assert choose_chunks(SHARED, networks, 1, "cpu") == 1
    assert choose_chunks(SHARED, tables, 1, "gpu") == 1


def test_the_chunks_asked_for(engines):
    cohorts = engines[1].cohorts  # of 16 lifetimes and of 8
    assert possible_chunks(cohorts, 1) == [1, 2, 4, 8]
    assert possible_chunks(cohorts, 2) == [1, 2, 4]
    for wanted, expected in [(None, 1), (99, 1), (24, 1), (23, 2), (12, 2), (11, 4), (3, 8)]:
        config = dataclasses.replace(SHARED, lifetimes_per_chunk=wanted)
        assert choose_chunks(config, cohorts, 1, "cpu") == expected
    with pytest.raises(UnevenLifetimesError, match="can be here is 3"):
        choose_chunks(dataclasses.replace(SHARED, lifetimes_per_chunk=1), cohorts, 1, "cpu")
    with pytest.raises(ValueError, match="at least 1"):
        dataclasses.replace(SHARED, lifetimes_per_chunk=0)
