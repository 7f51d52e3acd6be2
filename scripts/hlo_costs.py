"""What a GPU must at least do for a compiled program: the kernels, their bytes and their FLOP.

A kernel reads and writes once what it touches: of an operand that is only sliced or gathered from,
the slices; of a buffer that is updated in place, the update. It counts as often as the loops around
it run; a loop of unknown length once, and of a conditional all branches.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from math import prod
from typing import NamedTuple

from hlo_program import Computation, Instruction, Program, first_array, num_bytes

FREE = frozenset({
    "parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all",
    "partition-id", "replica-id", "opt-barrier",
})  # fmt: skip
SLICES = frozenset({"dynamic-slice", "slice", "gather"})
UPDATES = frozenset({"dynamic-update-slice", "scatter"})
VIEWS = frozenset({"bitcast", "copy", "reshape"})


class Kernel(NamedTuple):
    name: str
    opcode: str
    label: str  # where in the traced program it comes from
    times: int  # that it is launched
    bytes: int  # that one launch moves
    flop: float  # of one launch's products
    element_type: str  # of the products' operands


class Products(NamedTuple):
    flop: float
    element_type: str

    def __add__(self, other: "Products") -> "Products":  # type: ignore[override]
        kind = other.element_type if other.flop else self.element_type
        return Products(self.flop + other.flop, kind)


NO_PRODUCTS = Products(0.0, "f32")


def kernels(program: Program) -> list[Kernel]:
    """Every kernel of a program, in the order in which they first run."""
    return list(_kernels(program, program.entry, 1))


def _kernels(program: Program, name: str, times: int) -> Iterator[Kernel]:
    computation = program.computations[name]
    for each in computation.values():
        if each.opcode in FREE or each.opcode.endswith(("-done", "-update")):
            continue
        if each.opcode == "while":
            # A body of a known number of turns needs no condition.
            body = re.search(r"\bbody=%?([\w.\-]+)", each.attributes)
            assert body is not None
            yield from _kernels(program, body[1], times * each.trip_count)
        elif each.opcode in ("call", "conditional") or (
            each.opcode.endswith("-start") and each.calls
        ):
            for called in each.calls:
                yield from _kernels(program, called, times)
        else:
            size, products = _cost(program, computation, each)
            yield Kernel(each.name, each.opcode, each.label, times, size, *products)


def _cost(program: Program, around: Computation, each: Instruction) -> tuple[int, Products]:
    """Bytes and products of one kernel."""
    if each.opcode == "fusion":
        fused = program.computations[each.calls[0]]
        return _bytes_of_fused(fused), _products_within(program, fused)
    if each.opcode == "dynamic-update-slice":
        return 2 * num_bytes(around[each.operands[1]].shape), NO_PRODUCTS
    if each.opcode in SLICES:
        return 2 * num_bytes(each.shape), NO_PRODUCTS
    operands = (around[name].shape for name in each.operands if name in around)
    return num_bytes(each.shape) + sum(map(num_bytes, operands)), products_of(each, around)


def products_of(each: Instruction, around: Computation) -> Products:
    """Of a dot, or of a library's product: twice the elements of its result times those summed."""
    if each.opcode == "dot":
        summed = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", each.attributes)
    else:
        summed = re.search(r'"lhs_contracting_dimensions":\[([^\]]*)\]', each.attributes)
    if summed is None or not each.operands or each.operands[0] not in around:
        return NO_PRODUCTS
    kind, left = first_array(around[each.operands[0]].shape)
    depth = prod(left[int(d)] for d in re.findall(r"\d+", summed[1]))
    return Products(2.0 * prod(first_array(each.shape)[1]) * depth, kind)


def _products_within(program: Program, computation: Computation) -> Products:
    total = NO_PRODUCTS
    for each in computation.values():
        if each.opcode == "dot":
            total += products_of(each, computation)
        elif each.opcode == "fusion":
            total += _products_within(program, program.computations[each.calls[0]])
    return total


def _bytes_of_fused(computation: Computation) -> int:
    users: dict[str, list[Instruction]] = defaultdict(list)
    for each in computation.values():
        for operand in each.operands:
            users[operand].append(each)
    parameters = [x for x in computation.values() if x.opcode == "parameter"]
    root = next(x for x in computation.values() if x.is_root)
    return sum(_read(x, users) for x in parameters) + _written(root, computation)


def _read(each: Instruction, users: Mapping[str, list[Instruction]]) -> int:
    """Bytes of a parameter that its users need: all, where one of them needs all."""
    whole, total = num_bytes(each.shape), 0
    for user in users[each.name]:
        is_source = user.operands[0] == each.name
        if is_source and user.opcode in SLICES:
            total += num_bytes(user.shape)
        elif is_source and user.opcode in UPDATES:
            pass  # in place
        elif user.opcode in VIEWS and users[user.name]:
            total += _read(user, users)
        else:
            return whole
    return min(total, whole)


def _written(each: Instruction, computation: Computation) -> int:
    if each.opcode == "tuple":
        return sum(_written(computation[name], computation) for name in each.operands)
    if each.opcode == "bitcast":
        return _written(computation[each.operands[0]], computation)
    if each.opcode == "dynamic-update-slice":
        return num_bytes(computation[each.operands[1]].shape)
    if each.opcode == "scatter":  # what is there is read, added to and written
        return 2 * num_bytes(computation[each.operands[2]].shape)
    return num_bytes(each.shape)
