"""The script that measures the code's style, on code of known style."""

import ast

import pytest
import style_figures as script

CODE = '''
def bare(x): ...

def typed(x: int, /, *rest: int, key: str, **others: int) -> None:
    """Documented."""
    def within(y: int) -> int: ...

async def _private(x: int) -> int: ...

class Open:
    """Documented."""
    def __init__(self, x: int): ...
    def method(self, x: int) -> int: ...
    @classmethod
    def made(cls) -> "Open":
        """Documented."""
    def _hidden(self): ...

class _Closed:
    def method(self) -> None: ...
'''
TREE = ast.parse(CODE)


def test_every_function_counts_nested_and_private_ones_too():
    names = sorted(f.name for f in script.all_functions(TREE))
    expected = ["__init__", "_hidden", "_private", "bare", "made", "method", "method"]
    assert names == [*expected, "typed", "within"]


def test_public_is_what_nothing_hides():
    """A class's methods, but no function within a function and nothing of a private class."""
    names = [name for name, _ in script.public_names(TREE)]
    assert names == ["bare", "typed", "Open", "Open.method", "Open.made"]


@pytest.mark.parametrize(
    ("signature", "typed"),
    [
        ("f() -> None", True),
        ("f()", False),
        ("__init__(self, x: int)", True),
        ("f(self, cls: int) -> int", True),
        ("f(x, self) -> int", False),
        ("f(x: int, y) -> int", False),
        ("f(x, /) -> int", False),
        ("f(*, key) -> int", False),
        ("f(*rest) -> int", False),
        ("f(**others) -> int", False),
        ("f(a: int, /, b: int, *c: int, d: int, **e: int) -> int", True),
    ],
)
def test_typed_is_every_argument_but_the_object_itself_and_the_result(signature, typed):
    (function,) = ast.parse(f"def {signature}: ...").body
    assert script.is_typed(function) is typed


def test_spread_is_median_ninth_decile_and_largest():
    assert script.spread([7]) == [7, 7, 7]
    assert script.spread([3, 1, 2]) == [2, 3, 3]
    assert script.spread(list(range(20, 0, -1))) == [10, 18, 20]
    assert script.share([True, False, True]) == 0.6667


def test_tests_are_set_against_source(tmp_path, monkeypatch, capsys):
    """Two files of five lines in all and two empty ones, three lines of tests; what is missing
    is named."""
    sources = {"lpg/a.py": "def f(x):\n    return x\n", "lpg/room/b.py": "\n\n\n"}
    empty = {"envs/__init__.py": "", "metatest/__init__.py": ""}
    for name, text in {**sources, **empty, "tests/test_a.py": "1\n2\n3\n"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(script, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["style_figures.py", "--missing"])
    script.main()
    figures, *missing = capsys.readouterr().out.splitlines()
    assert '"tests_to_source": 0.6' in figures and '"file_lines": [2, 3, 3]' in figures
    assert '"typed": 0.0, "public_docstrings": 0.0' in figures
    assert missing == ["lpg/a.py:1: f is not fully annotated", "lpg/a.py:1: f has no docstring"]
