"""The command `metatrain`, and `python -m metatrain`."""

import sys

from lpg import __version__
from lpg.runs.command import fail
from lpg.runs.tables import print_table
from metatrain.devices.cpu_cores import use_every_core
from metatrain.devices.distributed import ProcessesError, initialize


def main() -> None:
    """Devices and processes first, then the command, whose imports take a device."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        print(f"metatrain {__version__}")
        return
    if arguments == ["list"]:
        from metatrain.listing import presets  # needs no device

        print_table(presets())
        return
    use_every_core()
    try:
        initialize(arguments)
    except (ProcessesError, ValueError) as error:
        sys.exit(fail("metatrain", error, 2))
    from metatrain import cli  # takes a device by its imports

    cli.main(arguments)


if __name__ == "__main__":
    main()
