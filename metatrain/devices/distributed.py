"""Processes that find each other; before all else, since gymnax's import already takes a device."""

from dataclasses import dataclass, field

import jax
import tyro


class ProcessesError(RuntimeError):
    """Processes that did not find each other, or that lost the first of them."""


@dataclass(frozen=True)
class Distributed:
    """Several processes, on one host or many, each with its own devices."""

    coordinator: str | None = None
    """host:port of process 0; the same for every process."""
    num_processes: int | None = None
    """How many processes there are in all."""
    process_id: int | None = None
    """This process, from 0."""
    local_device_ids: tuple[int, ...] | None = None
    """Devices of this host that are this process's; all where not given."""
    cluster: bool = False
    """Take all of it from the cluster's environment variables (Slurm, Open MPI, cloud TPU)."""

    def __post_init__(self) -> None:
        given = [x is not None for x in (self.coordinator, self.num_processes, self.process_id)]
        if any(given) and not all(given):
            raise ValueError(
                "Give --distributed.coordinator, --distributed.num-processes and "
                "--distributed.process-id together."
            )

    def initialize(self) -> None:
        """Before anything else touches a device; nothing for a single process.

        Raises ProcessesError where the processes do not find each other.
        """
        if self.coordinator is None and not self.cluster:
            return
        try:
            jax.distributed.initialize(
                self.coordinator, self.num_processes, self.process_id, self.local_device_ids
            )
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ProcessesError(
                f"The processes did not find each other ({reason}); start all "
                "--distributed.num-processes of them, and check that "
                "--distributed.coordinator is process 0's address."
            ) from error


@dataclass(frozen=True)
class _Flags:
    distributed: Distributed = field(default_factory=Distributed)


def initialize(arguments: list[str]) -> None:
    """By the `--distributed` flags of a command line; its other flags are not looked at."""
    given = [a for a in arguments if a.startswith("--distributed")]
    if given and not {"-h", "--help"} & set(arguments):
        flags, _ = tyro.cli(_Flags, args=arguments, return_unknown_args=True)
        flags.distributed.initialize()
