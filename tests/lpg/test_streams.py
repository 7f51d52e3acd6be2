"""Whatever becomes of the terminal, the work goes on, and nothing is said of it."""

import os
import subprocess
import sys

import pytest

from lpg.runs import streams

MANY = "for i in range(20000): print('line', i, flush=i % 100 == 0)\n"
DONE = "open(sys.argv[1], 'w').write('done')\n"


@pytest.fixture
def start(tmp_path):
    """A command that leaves a file at its end; the file, and the process."""
    end = tmp_path / "end"

    def begin(code, within=(), **options):
        before = "import sys\nfrom lpg.runs import streams\nstreams.shield()\n"
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        words = [*within, sys.executable, "-c", before + code + DONE, str(end)]
        return end, subprocess.Popen(words, **options)

    return begin


def is_done(end, process, error=b""):
    said = process.communicate(timeout=20)[1]
    return process.returncode == 0 and end.read_text() == "done" and said in (None, error)


def test_a_reader_that_goes_away(start):
    end, process = start(MANY)
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    assert is_done(end, process)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_full_disk_behind_a_stream(start, stream):
    code = f"for i in range(20000): print('line', i, file=sys.{stream})\n"
    with open("/dev/full", "w") as full:
        end, process = start(code, **{stream: full})
        assert is_done(end, process)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_closed_stream_is_no_other_files_number(start, closed):
    """Else what is printed would be written into a file, such as a checkpoint."""
    code = "other = open(sys.argv[1] + '2', 'w')\nprint('said')\nprint('said', file=sys.stderr)\n"
    code += "assert other.fileno() > 2\n"
    end, process = start(code, within=["sh", "-c", f'exec "$@" {closed}', "sh"])
    process.communicate(timeout=20)
    assert process.returncode == 0 and end.read_text() == "done"
    assert end.with_name("end2").read_text() == ""


def test_another_encoding(start):
    end, process = start(
        "print('\\u03c0 \\u00b1 \\u2501')\n", env={**ENV, "PYTHONIOENCODING": "ascii"}
    )
    assert process.stdout.read() == b"? ? ?\n"
    assert is_done(end, process)


ENV = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_a_pager_that_nobody_scrolls(start):
    """A pipe takes 64 KiB, then nothing; a long line is no exception."""
    end, process = start("streams.PATIENCE = .1\n" + MANY + "print('x' * 1_000_000)\n")
    process.wait(timeout=20)
    assert is_done(end, process)


def test_a_slow_reader_gets_all_of_it(start):
    end, process = start(MANY)
    lines = process.stdout.read().splitlines()
    assert lines[0] == b"line 0" and lines[-1] == b"line 19999" and len(lines) == 20000
    assert is_done(end, process)


def test_a_terminal_that_is_closed(start):
    ours, theirs = os.openpty()
    code = "import time\nfrom rich.console import Console\nprint('begun', flush=True)\n"
    code += "while sys.stdout.isatty(): time.sleep(.01)\n" + MANY
    code += "Console().print('[b]still[/b] here')\n"
    end, process = start(code, stdout=theirs, start_new_session=True)
    os.close(theirs)
    assert os.read(ours, 5) == b"begun"
    os.close(ours)
    assert is_done(end, process)


def test_what_a_stream_takes_comes_out_whole_and_in_order(start):
    code = "sys.stdout.write('a'); print('b', file=sys.stderr); print('c')\n"
    end, process = start(code, stderr=subprocess.STDOUT)
    assert sorted(process.stdout.read()) == sorted(b"b\nac\n")
    assert is_done(end, process, None)


def test_a_failure_is_one_line_on_stderr_and_its_code(capsys):
    assert streams.fail("metatrain", ValueError("no such preset"), 2) == 2
    said = capsys.readouterr()
    assert said.err == "metatrain: no such preset\n" and said.out == ""
