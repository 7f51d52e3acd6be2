"""The command `python -m metatrain.bias`."""

import sys

from lpg.runs.signals import leaving
from lpg.runs.start import start, take_device


def main() -> None:
    """Signals and a device first, then the command, whose imports take a device."""
    command = "metatrain.bias"
    start(command, sets=("jax_enable_x64",))  # no other command computes in 64 bits
    take_device(command)
    from metatrain.bias import cli

    with leaving():
        cli.main(sys.argv[1:])


if __name__ == "__main__":
    main()
