"""How the code measures up to its own style, as one line of JSON.

    python scripts/style_figures.py
    python scripts/style_figures.py --missing

Of the four packages: lines of files and of functions (median, 90th percentile, largest), the share
of functions whose arguments and result are all annotated, the share of public classes, functions
and methods that have a docstring, and lines of tests to lines of source. `--missing` names what
keeps the two shares below 1.
"""

import ast
import json
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro

ROOT = Path(__file__).parent.parent
PACKAGES = ("envs", "lpg", "metatrain", "metatest")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Figures:
    """Print the figures."""

    missing: bool = False
    """Name functions that are not fully annotated, and public names without a docstring."""


def main() -> None:
    command = tyro.cli(Figures)
    sources = {path: path.read_text() for path in files(*PACKAGES)}
    trees = {path: ast.parse(text) for path, text in sources.items()}
    functions = [(path, f) for path, tree in trees.items() for f in all_functions(tree)]
    public = [(path, *each) for path, tree in trees.items() for each in public_names(tree)]
    lines = [count(text) for text in sources.values()]
    figures = {
        "file_lines": spread([n for n in lines if n]),
        "function_lines": spread([f.end_lineno - f.lineno + 1 for _, f in functions]),
        "typed": share([is_typed(f) for _, f in functions]),
        "public_docstrings": share([ast.get_docstring(node) is not None for *_, node in public]),
        "tests_to_source": round(sum(count(p.read_text()) for p in files("tests")) / sum(lines), 2),
    }
    print(json.dumps(figures))
    if command.missing:
        for path, f in functions:
            if not is_typed(f):
                print(f"{path.relative_to(ROOT)}:{f.lineno}: {f.name} is not fully annotated")
        for path, name, node in public:
            if ast.get_docstring(node) is None:
                print(f"{path.relative_to(ROOT)}:{node.lineno}: {name} has no docstring")


def files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def count(text: str) -> int:
    return len(text.splitlines())


def spread(values: list[int]) -> list[int]:
    """Median, 90th percentile, largest."""
    ranked = sorted(values)
    return [round(statistics.median(ranked)), ranked[math.ceil(0.9 * len(ranked)) - 1], ranked[-1]]


def share(values: list[bool]) -> float:
    return round(sum(values) / len(values), 4)


def all_functions(tree: ast.AST) -> list[Function]:
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def is_typed(function: Function) -> bool:
    """Whether all arguments but self and cls, and the result, are annotated."""
    a = function.args
    positional = [*a.posonlyargs, *a.args]
    if positional and positional[0].arg in ("self", "cls"):
        positional = positional[1:]
    given = [*positional, *a.kwonlyargs, *(x for x in (a.vararg, a.kwarg) if x is not None)]
    returns = function.returns is not None or function.name == "__init__"
    return returns and all(x.annotation is not None for x in given)


def public_names(tree: ast.Module) -> Iterator[tuple[str, ast.ClassDef | Function]]:
    """Classes and functions of a module, and methods of such classes, that do not start with _."""
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | Function) or node.name.startswith("_"):
            continue
        yield node.name, node
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, Function) and not method.name.startswith("_"):
                    yield f"{node.name}.{method.name}", method


if __name__ == "__main__":
    main()
