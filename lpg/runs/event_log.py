"""TensorBoard events, written in the foreground: a full disk is then reported where it is met."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2
from tensorboardX.summary import scalar

_proto: Any = event_pb2  # generated at import time, so unknown to type checkers


class EventLog:
    """One event file. tensorboardX's SummaryWriter would write from a thread of its own."""

    def __init__(self, directory: Path, first_step: int):
        """Raises OSError, as `add` does, where the file cannot be written."""
        directory.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(directory / "events"))
        # TensorBoard forgets what an interrupted run had written of later steps.
        self._write(first_step, session_log=_proto.SessionLog(status=_proto.SessionLog.START))

    def add(self, step: int, scalars: list[tuple[str, float]]) -> None:
        """Write (tag, value) pairs of one step; on disk when this returns."""
        for tag, value in scalars:
            self._write(step, summary=scalar(tag, value))
        self._writer.flush()

    def _write(self, step: int, **content: Any) -> None:
        event = _proto.Event(wall_time=time.time(), step=step, **content)
        self._writer.write_event(event)

    def close(self) -> None:
        """Everything added is on disk already; what a full disk left over is given up."""
        with suppress(OSError):
            self._writer.close()
        with suppress(OSError):
            self._writer._py_recordio_writer.close()
