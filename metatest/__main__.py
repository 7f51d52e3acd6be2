"""The command `metatest`, and `python -m metatest`."""

from lpg.runs.start import start, take_device


def main() -> None:
    """Signals and a device first, then the command, whose imports take seconds and a device."""
    start("metatest")
    take_device("metatest")
    from metatest import cli

    cli.main()


if __name__ == "__main__":
    main()
