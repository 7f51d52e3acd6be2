"""`metatest list` and `--version`: every name is one that the command takes."""

import sys

import pytest

import lpg
from metatest import cli, listing
from metatest.algorithms import AlgorithmOptions, choose
from metatest.atari.games import resolve
from metatest.tasks import find_task


def test_every_name_that_is_listed_is_taken():
    found = listing.everything()
    names = {title.split()[0].rstrip(","): each for title, each in found.items()}
    choose(tuple(names["Shipped"] + names["Algorithms"]), AlgorithmOptions())
    assert len(resolve(tuple(names["Atari"]))) == 57
    everything = [name for each in names.values() for name in each]
    assert len(set(everything)) == len(everything)  # gymnax's registry has ours, too
    for name in names["Environments"] + names["Others"]:
        assert find_task(name).name == name
    for name in names["gymnax"]:
        try:
            assert find_task(name).name == name
        except ValueError as error:
            assert "continuous actions" in str(error)


def test_the_list_is_printed_whole(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["metatest", "list"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "stac[gamma,lam]" in said and "yars_revenge" in said
    assert max(map(len, said.splitlines())) <= 80


def test_the_version_is_the_packages(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["metatest", "--version"])
    cli.main()
    assert capsys.readouterr().out == f"metatest {lpg.__version__}\n"
