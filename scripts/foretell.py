"""The time that a card would take at least for a program's kernels."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from hlo_costs import Kernel

LOOPS = frozenset({"while", "body", "cond", "eval_jaxpr", "closed_call"})
DEPTH = 4  # scopes that name a stage


class Card(NamedTuple):
    """What programs reach, which is less than what is advertised."""

    name: str
    bandwidth: float  # bytes/s
    half: float  # FLOP/s of products of bfloat16 and float16
    single: float  # FLOP/s of all other products, which are of float32 rounded to TF32
    launch: float  # seconds that a kernel takes besides


CARDS = {
    "h100": Card("NVIDIA H100 SXM", 2.9e12, 790e12, 400e12, 2e-6),  # measured, but for the launch
    # The same share of what is advertised.
    "h200": Card("NVIDIA H200 SXM", 4.15e12, 790e12, 400e12, 2e-6),
}


class Row(NamedTuple):
    """Kernels taken together."""

    where: str
    seconds: float
    times: int
    bytes: float
    flop: float

    def as_record(self) -> dict[str, Any]:
        kept = self._asdict()
        return {"milliseconds": 1e3 * kept.pop("seconds"), **kept}


@dataclass(frozen=True)
class Forecast:
    """Rows are in the order of their time, longest first."""

    whole: Row
    stages: tuple[Row, ...]
    kernels: tuple[Row, ...]

    @property
    def seconds(self) -> float:
        """At least, of one run of the program."""
        return self.whole.seconds

    def as_record(self) -> dict[str, Any]:
        """Plain JSON."""
        whole = self.whole.as_record()
        return {
            "milliseconds": whole["milliseconds"],
            "launches": whole["times"],
            "bytes": whole["bytes"],
            "flop": whole["flop"],
            "stages": [row.as_record() for row in self.stages],
            "kernels": [row.as_record() for row in self.kernels],
        }


def seconds_of(kernel: Kernel, card: Card) -> float:
    """At least, of one launch: what moves and what multiplies do so side by side."""
    rate = card.half if kernel.element_type in ("bf16", "f16") else card.single
    return max(kernel.bytes / card.bandwidth, kernel.flop / rate) + card.launch


def forecast(kernels: Iterable[Kernel], card: str) -> Forecast:
    """What `kernels` take on a card, by its name in `CARDS`."""
    kernels = list(kernels)
    chosen = CARDS[card]
    (whole,) = _rows(kernels, chosen, lambda kernel: "") or (Row("", 0.0, 0, 0, 0.0),)
    return Forecast(
        whole,
        _rows(kernels, chosen, lambda kernel: stage(kernel.label)),
        _rows(kernels, chosen, lambda kernel: f"{kernel.opcode} {kernel.name} {kernel.label}"),
    )


def _rows(kernels: Iterable[Kernel], card: Card, where: Callable[[Kernel], str]) -> tuple[Row, ...]:
    together: dict[str, list[Kernel]] = defaultdict(list)
    for kernel in kernels:
        together[where(kernel)].append(kernel)
    rows = [
        Row(
            name,
            sum(k.times * seconds_of(k, card) for k in group),
            sum(k.times for k in group),
            sum(k.times * k.bytes for k in group),
            sum(k.times * k.flop for k in group),
        )
        for name, group in together.items()
    ]
    return tuple(sorted(rows, key=lambda row: -row.seconds))


def stage(label: str) -> str:
    """The first scopes of a label, without the loops and transforms around them."""
    parts = [p for p in label.split("/") if p not in LOOPS and not p.startswith("jit(")]
    return "/".join(parts[:DEPTH])
