"""What is in the source distribution and in the wheel."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PACKAGES = {"envs", "lpg", "metatest", "metatrain"}
BUILD = "from setuptools import build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')"


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """Both, built from a copy, for building leaves its metadata in the tree."""
    copy = tmp_path_factory.mktemp("copy")
    for folder in ("docs", "scripts", "tests", *PACKAGES):
        shutil.copytree(ROOT / folder, copy / folder)
    for file in ROOT.glob("[!.]*"):
        if file.is_file():
            shutil.copy(file, copy)
    built = subprocess.run([sys.executable, "-c", BUILD], cwd=copy, text=True, capture_output=True)
    assert built.returncode == 0, built.stderr
    return copy / "dist"


def own_files(*folders):
    """Of the repository's folders, by their paths in it."""
    files = [file for folder in folders for file in (ROOT / folder).rglob("*")]
    return {
        str(file.relative_to(ROOT))
        for file in files
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_the_source_distribution_has_what_the_readme_speaks_of(dist):
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    wanted = own_files("docs", "scripts", "tests", *PACKAGES)
    wanted |= {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "Makefile", "pyproject.toml"}
    assert wanted - names == set()
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert {link for link in links if "://" not in link} - names == set()
    assert not [name for name in names if name.endswith(".pyc")]


def test_the_wheel_has_the_packages_and_nothing_else(dist):
    (archive,) = dist.glob("*.whl")
    with zipfile.ZipFile(archive) as opened:
        names = set(opened.namelist())
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES
    assert own_files(*PACKAGES) - names == set()


def test_the_citation_is_of_this_version_and_of_the_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert citation["title"].startswith(project["name"])
    titles = [paper["title"] for paper in citation["references"]]
    assert "Discovering Reinforcement Learning Algorithms" in titles
