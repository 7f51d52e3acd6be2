"""Which package may import which, and how long a file may be."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "envs": set(),
    "lpg": set(),
    "metatrain": {"envs", "lpg"},
    "metatest": {"envs", "lpg"},
}
FILES = [f for package in ALLOWED for f in sorted((ROOT / package).rglob("*.py"))]


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            assert all(alias.name != "*" for alias in node.names), "star import"
            yield node.module


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_layers_and_sizes(file):
    package = file.relative_to(ROOT).parts[0]
    text = file.read_text()
    ours = {name.split(".")[0] for name in imported(ast.parse(text))} & ALLOWED.keys()
    assert ours <= ALLOWED[package] | {package}
    assert len(text.splitlines()) <= 300
    assert file.stem not in ("utils", "common")


def test_all_packages_are_found():
    assert {f.relative_to(ROOT).parts[0] for f in FILES} == ALLOWED.keys()
