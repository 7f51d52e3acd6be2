"""One process writes to a run directory; the lock that says so dies with it."""

import errno
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = ".owner"


class OwnedError(ValueError):
    """Another process writes there; the message says which."""


class Owner:
    """Holds `directory` from its making to `release`, or to the end of the process however it ends.

    By fcntl's record locks, which NFS keeps as well; a file system without them is said so on
    stderr, and work goes on. Raises OwnedError where another process holds the directory.
    """

    def __init__(self, directory: Path):
        self._path = directory / NAME
        self._descriptor: int | None = None
        while self._descriptor is None:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            if not self._locked(descriptor):
                os.close(descriptor)
                return
            if _is_at(descriptor, self._path):
                self._descriptor = descriptor
            else:
                os.close(descriptor)  # its holder took it away meanwhile
        os.ftruncate(self._descriptor, 0)
        who = f"process {os.getpid()} on {socket.gethostname()}"
        os.write(self._descriptor, who.encode())

    def _locked(self, descriptor: int) -> bool:
        """Whether it is ours; False on a file system that knows no locks."""
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                where = f"{self._path.parent} is on a file system without locks"
                print(f"{where} ({error.strerror}): start no second run there.", file=sys.stderr)
                return False
            holder = os.read(descriptor, 1000).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise OwnedError(
                f"{self._path.parent} is being written by {holder}; wait for its end or choose "
                "another --run-dir."
            ) from error
        return True

    def release(self) -> None:
        """Let others write there; of no effect a second time."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """An `Owner` of the directory, released at the end."""
    owner = Owner(directory)
    try:
        yield
    finally:
        owner.release()


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
