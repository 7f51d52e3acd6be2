"""The command `metatest`, and `python -m metatest`."""

import sys

from lpg.runs.signals import leaving
from lpg.runs.start import start, take_device


def main() -> None:
    """Signals and a device first, then the command, whose imports take seconds and a device."""
    start("metatest")
    on_atari = any(x.split("=")[0] == "--atari" for x in sys.argv)  # by several processes
    take_device("metatest", shared=on_atari)
    from metatest import cli

    with leaving():
        cli.main()


if __name__ == "__main__":
    main()
