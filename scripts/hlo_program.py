"""An XLA program after compilation, read from its text: computations of instructions."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

SHAPE = re.compile(r"\b([a-z]\w*)\[([\d,]*)\]")  # of one array: element type and dimensions
HEADER = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")
INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = (.*)$")
CALLED = re.compile(
    r"\b(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)"
)


@dataclass(frozen=True)
class Instruction:
    """One line: `name = shape opcode(operands), attributes`."""

    name: str
    shape: str  # of an array, or of a tuple in parentheses
    opcode: str
    operands: tuple[str, ...]  # names within the same computation
    attributes: str
    is_root: bool

    @property
    def calls(self) -> list[str]:
        """Names of the computations that it runs."""
        branches = re.search(r"branch_computations=\{([^}]*)\}", self.attributes)
        several = re.findall(r"[\w.\-]+", branches[1]) if branches else []
        return CALLED.findall(self.attributes) + several

    @property
    def label(self) -> str:
        """Where in the traced program it comes from: scopes, loops and a primitive, by slashes."""
        found = re.search(r'op_name="([^"]*)"', self.attributes)
        return found[1] if found else ""

    @property
    def trip_count(self) -> int:
        """How often a loop's body runs; 1 where the compiler does not know."""
        found = re.search(r'known_trip_count":\{"n":"(\d+)"', self.attributes)
        return int(found[1]) if found else 1


Computation = dict[str, Instruction]  # by name, in the order of the text


@dataclass(frozen=True)
class Program:
    computations: dict[str, Computation]
    entry: str  # the computation that is run


def parse(text: str) -> Program:
    """A program as `jax.stages.Compiled.as_text` has it.

    Raises ValueError where `text` has no entry computation.
    """
    computations: dict[str, Computation] = {}
    entry, current = None, None
    for line in text.splitlines():
        if header := HEADER.match(line):
            current = computations.setdefault(header[2], {})
            entry = header[2] if header[1] else entry
        elif current is not None and (found := INSTRUCTION.match(line)):
            instruction = _instruction(found[2], found[3], bool(found[1]))
            current[instruction.name] = instruction
    if entry is None:
        raise ValueError("This is no compiled program: its text has no ENTRY computation.")
    return Program(computations, entry)


def _instruction(name: str, text: str, is_root: bool) -> Instruction:
    shape_end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    shape, rest = text[:shape_end], text[shape_end:].lstrip()
    opens = rest.index("(")
    closes = _closing(rest, opens)
    operands = tuple(re.findall(r"%([\w.\-]+)", rest[opens:closes]))
    return Instruction(name, shape, rest[:opens], operands, rest[closes + 1 :], is_root)


def _closing(text: str, start: int) -> int:
    """Where the parenthesis that opens at `start` closes."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return place
    raise ValueError(f"A parenthesis stays open: {text[start : start + 80]}")


def arrays(shape: str) -> Iterator[tuple[str, list[int]]]:
    """Element type and dimensions of each array of a shape."""
    for element_type, dimensions in SHAPE.findall(shape):
        yield element_type, [int(d) for d in dimensions.split(",") if d]


def first_array(shape: str) -> tuple[str, list[int]]:
    """Of a tuple, what is computed; what comes after it is scratch space."""
    return next(arrays(shape))


def num_bytes(shape: str) -> int:
    """Of all arrays of a shape."""
    return sum(int(prod(dims) * _bits(kind) / 8) for kind, dims in arrays(shape))


def _bits(element_type: str) -> int:
    """By the number in its name: f32, bf16, s8, f8e4m3fn, c64; pred takes a byte, a token none."""
    found = re.search(r"\d+", element_type)
    return int(found[0]) if found else {"pred": 8}.get(element_type, 0)
