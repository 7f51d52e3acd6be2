"""The command `metatrain`, and `python -m metatrain`."""

import sys

from lpg.runs.signals import leaving
from lpg.runs.start import start, take_device


def main() -> None:
    """Signals, devices and processes first, then the command, whose imports take a device."""
    start("metatrain")
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        from lpg import __version__

        print(f"metatrain {__version__}")
        return
    if arguments == ["list"]:
        from lpg.runs.tables import print_table
        from metatrain.listing import presets  # needs no device

        print_table(presets())
        return
    _find_devices(arguments)
    from metatrain import cli  # takes a device by its imports

    with leaving():
        cli.main(arguments)


def _find_devices(arguments: list[str]) -> None:
    from lpg.runs.streams import fail
    from metatrain.devices.cpu_cores import use_every_core
    from metatrain.devices.distributed import ProcessesError, initialize

    use_every_core()
    try:
        initialize(arguments)
    except (ProcessesError, ValueError) as error:
        sys.exit(fail("metatrain", error, 2))
    take_device("metatrain")


if __name__ == "__main__":
    main()
