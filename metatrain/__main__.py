"""The command `metatrain`, and `python -m metatrain`."""

import sys

from metatrain.devices.cpu_cores import use_every_core
from metatrain.devices.distributed import ProcessesError, initialize


def main() -> None:
    use_every_core()
    try:
        initialize(sys.argv[1:])
    except (ProcessesError, ValueError) as error:
        print(f"metatrain: {error}", file=sys.stderr)
        sys.exit(2)
    from metatrain import cli  # takes a device by its imports

    cli.main()


if __name__ == "__main__":
    main()
