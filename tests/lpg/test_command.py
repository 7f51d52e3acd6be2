"""What commands share: bars and the place of the cache."""

import io
import re
from pathlib import Path

import jax
import pytest
from rich.console import Console

from lpg.runs import command


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


def test_without_a_home_programs_are_kept_nowhere(monkeypatch):
    """As in a container, by a number that is no user's."""
    kept = {}
    monkeypatch.setattr(jax.config, "update", kept.__setitem__)
    monkeypatch.setattr(Path, "home", raises)
    for name in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    command.enable_compilation_cache()
    assert kept == {}


def raises():
    raise RuntimeError("Could not determine home directory.")


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
