"""What commands share: one sentence and a code, signals that stop, the place of the cache."""

import io
import re
import signal
from pathlib import Path

import jax
import pytest
from rich.console import Console

from lpg.runs import command

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def test_a_failure_is_one_line_on_stderr_and_its_code(capsys):
    assert command.fail("metatrain", ValueError("no such preset"), 2) == 2
    said = capsys.readouterr()
    assert said.err == "metatrain: no such preset\n" and said.out == ""


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_and_announced_once_the_second_stops(number, capsys):
    with command.stop_signals("Saving.") as received:
        assert received == []
        signal.raise_signal(number)
        assert received == [number]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert received == [number]
    assert capsys.readouterr().err == "Saving.\n"


def test_signals_are_handled_as_before_once_it_is_over_even_by_an_error():
    before = [signal.getsignal(s) for s in SIGNALS]
    with pytest.raises(KeyError), command.stop_signals():
        assert all(signal.getsignal(s) not in before for s in SIGNALS)
        raise KeyError
    assert [signal.getsignal(s) for s in SIGNALS] == before


def test_nothing_is_announced_unasked(capsys):
    with command.stop_signals() as received:
        signal.raise_signal(signal.SIGTERM)
    assert received == [signal.SIGTERM] and capsys.readouterr() == ("", "")


@pytest.mark.parametrize("home", ["", "elsewhere"])
def test_programs_are_kept_in_the_users_cache(monkeypatch, home):
    """XDG_CACHE_HOME says where that is; set to nothing, it says nothing."""
    kept = {}
    monkeypatch.setattr(jax.config, "update", kept.__setitem__)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    command.enable_compilation_cache()
    base = Path(home) if home else Path.home() / ".cache"
    assert kept == {"jax_compilation_cache_dir": str(base / "lpg-engine" / "jax")}


@pytest.mark.parametrize("place", ["", "/somewhere"])
def test_whoever_told_jax_another_place_is_not_overruled(monkeypatch, place):
    kept = {}
    monkeypatch.setattr(jax.config, "update", kept.__setitem__)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", place)
    command.enable_compilation_cache()
    assert kept == {}


def shown(**options):
    """The last state of a bar at a quarter."""
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    with command.progress(console, **options) as bar:
        bar.update(bar.add_task("lives", total=4), completed=1)
    return console.file.getvalue().rpartition("\r")[2]


def test_a_bar_says_what_how_far_and_how_long():
    first, last = shown(), shown(description_last=True)
    assert first.index("lives") < first.index("25%") < first.index("left")
    assert last.index("25%") < last.index("left") < last.index("lives")
    assert shown(live=False) == ""


def test_a_long_name_in_a_bar_is_whole_and_no_markup():
    """The bar takes some 35 of the 100 columns."""
    name = "[red]" + "".join(f"{i:03}" for i in range(50))
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    with command.progress(console) as bar:
        bar.add_task(name, total=4)
    pieces = re.findall(r"\[red\]\d+|\d{30,}|^\d+", console.file.getvalue(), re.MULTILINE)
    assert name in "".join(pieces)
