"""Which package may import which, and how long a file may be."""

import ast
import builtins
import dis
import importlib
import types
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


def loaded(code):
    """Global names that a code object and those within it read."""
    for instruction in dis.get_instructions(code):
        if instruction.opname == "LOAD_GLOBAL":
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from loaded(constant)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_every_name_is_there(file):
    """Linters do not look, because shape strings are no names."""
    name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    if name.endswith("__main__"):
        return
    module = importlib.import_module(name)
    code = compile(file.read_text(), str(file), "exec")
    missing = {x for x in loaded(code) if not hasattr(module, x) and not hasattr(builtins, x)}
    assert not missing
