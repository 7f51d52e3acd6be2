"""The measurements for an accelerator, as far as they are testable without one."""

import os
import sys
import time
from pathlib import Path

import measure_accelerator as script


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_step_over_its_time_ends_with_everything_it_started(tmp_path):
    parent = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    log = tmp_path / "step.log"
    assert script.run([sys.executable, "-c", parent], log, 3) is None
    child = int(log.read_text())
    assert child != os.getpid()
    for _ in range(100):  # the kill reaches it in its own time
        if not alive(child):
            break
        time.sleep(0.1)
    assert not alive(child)


def test_steps_that_are_done_are_not_run_again(tmp_path, monkeypatch, capsys):
    count = "import pathlib; p = pathlib.Path('runs'); p.write_text(p.read_text() + 'x')"
    fails = "raise SystemExit(3)"
    planned = [
        (name, [sys.executable, "-c", code], 30) for name, code in (("a", count), ("b", fails))
    ]
    monkeypatch.setattr(script, "steps", lambda preset: planned)
    monkeypatch.chdir(tmp_path)
    Path("runs").write_text("")
    monkeypatch.setattr(sys, "argv", ["measure_accelerator.py", "--output", "out"])
    script.main()
    script.main()
    assert Path("runs").read_text() == "x"
    assert capsys.readouterr().out.count("b: exit 3") == 2


def test_every_step_is_a_command_that_its_script_understands():
    for name, command, seconds in script.steps("paper"):
        assert seconds < 570, name
        assert Path(command[1]).exists() or command[1] == "-m", name
