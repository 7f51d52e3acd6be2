"""TensorBoard reads back what was logged, and a full disk is met in the foreground."""

import struct
from pathlib import Path

import pytest
from tensorboardX.proto import event_pb2

from lpg.runs.event_log import EventLog


def read_events(directory):
    """Events of the one file there, by the record format: length, its CRC, data, its CRC."""
    (path,) = directory.iterdir()
    data, events, at = path.read_bytes(), [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        events.append(event_pb2.Event.FromString(data[at + 12 : at + 12 + length]))
        at += 12 + length + 4
    return events


def test_what_is_logged_can_be_read_before_closing(tmp_path):
    log = EventLog(tmp_path, 11)
    log.add(20, [("return/short", 0.5), ("loss/total", -1.0)])
    version, start, *scalars = read_events(tmp_path)
    assert version.file_version == "brain.Event:2"
    assert (start.step, start.session_log.status) == (11, 1)
    values = [(e.step, e.summary.value[0].tag, e.summary.value[0].simple_value) for e in scalars]
    assert values == [(20, "return/short", 0.5), (20, "loss/total", -1.0)]
    log.close()


def test_a_full_disk_raises_where_it_is_met(tmp_path, monkeypatch):
    log = EventLog(tmp_path, 1)
    full = Path("/dev/full").open("wb")  # noqa: SIM115
    log._writer._py_recordio_writer._writer.close()
    monkeypatch.setattr(log._writer._py_recordio_writer, "_writer", full)
    with pytest.raises(OSError, match="No space left"):
        log.add(2, [("loss/total", 0.0)])
    log.close()
    assert full.closed
