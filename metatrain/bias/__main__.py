"""The command `python -m metatrain.bias`."""

import os
import sys

from lpg.runs import signals, streams
from lpg.runs.start import take_device

COMMAND = "metatrain.bias"


def main() -> None:
    """Signals and a device first, then the command, whose imports take a device."""
    streams.shield()
    signals.obey(COMMAND)
    import jax

    from lpg.runs.settings import refuse_settings

    try:
        # This command alone computes in 64 bits, and sees to it itself.
        refuse_settings({**jax.config.values, "jax_enable_x64": False}, os.environ)
    except ValueError as error:
        sys.exit(streams.fail(COMMAND, error, 2))
    take_device(COMMAND)
    from metatrain.bias import cli

    cli.main(sys.argv[1:])


if __name__ == "__main__":
    main()
