"""Which numbers activations and matmuls are computed in; parameters are float32 throughout."""

from typing import Literal

from lpg.platform import platform

Precision = Literal["auto", "float32", "bfloat16"]  # auto: bfloat16 except on a CPU


def is_narrow(precision: Precision) -> bool:
    """Whether this means bfloat16 on the platform at hand."""
    return precision == "bfloat16" or (precision == "auto" and platform() != "cpu")
