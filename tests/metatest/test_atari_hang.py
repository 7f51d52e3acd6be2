"""Emulators that hang or die: named within the time that they have, and the run is taken up."""

import json
import subprocess
import sys
import time
from queue import Empty
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
from test_atari_emulator import MADE, Emulator, by_the_screen
from test_metatest_cli import run
from test_metatest_exit_codes import refused

from metatest.atari import emulator
from metatest.atari.emulator import EmulatorError
from metatest.atari.env import AtariEnv, AtariSettings

GO_ON = "run the same command again, which goes on from the last checkpoint"


def hang():
    Event().wait()


@pytest.fixture
def plant(monkeypatch):
    """An emulator in place of ale-py's; none has more than a fifth of a second."""

    def plant(kind):
        MADE.clear()
        planted = SimpleNamespace(AtariVectorEnv=kind)
        monkeypatch.setitem(sys.modules, "ale_py.vector_env", planted)

    monkeypatch.setattr(emulator, "PATIENCE", 0.2)
    monkeypatch.setattr(emulator, "TO_CLOSE", 0.1)
    monkeypatch.setattr(emulator, "_expect_complaints", lambda: None)
    return plant


def at_the_third_step(what):
    class Failing(Emulator):
        """The second half does that."""

        def recv(self):
            if self.place and self.taken == 2:
                what()
            return super().recv()

    return Failing


def test_one_that_hangs_is_named_and_left_behind(plant):
    plant(at_the_third_step(hang))
    env, started = AtariEnv("pong", AtariSettings(num_envs=4), 0), time.monotonic()
    env.rollout(by_the_screen, 2)
    with pytest.raises(EmulatorError) as caught:
        env.rollout(by_the_screen, 2)
    assert str(caught.value) == f"The emulator of pong has not answered for 0.2 seconds; {GO_ON}."
    env.close()
    assert time.monotonic() - started < 5
    assert [half.closed for half in MADE] == [True, False]


def test_one_that_throws_is_named_with_its_reason(plant):
    def throw():
        raise RuntimeError("cartridge\n  melted")

    plant(at_the_third_step(throw))
    env = AtariEnv("pong", AtariSettings(num_envs=4), 0)
    reason = r"The emulator of pong failed \(RuntimeError: cartridge melted\); run the same"
    with pytest.raises(EmulatorError, match=reason):
        env.rollout(by_the_screen, 4)
    env.close()  # the fake one refuses that, after what was sent and not fetched
    assert [half.closed for half in MADE] == [True, False]


class Missing(Emulator):
    def __init__(self, game, count, **options):
        super().__init__(game, count, **options)
        if len(MADE) == 2:
            raise FileNotFoundError(2, "No such file or directory", "pong.bin")


class Asleep(Emulator):
    def reset(self, seed):
        hang()


@pytest.mark.parametrize(
    ("kind", "reason", "closed"),
    [(Missing, "FileNotFoundError.*pong.bin", [True, False]), (Asleep, "not answered", [False])],
)
def test_one_that_does_not_start_leaves_none_open(plant, kind, reason, closed):
    plant(kind)
    with pytest.raises(EmulatorError, match=f"The emulator of pong .*{reason}"):
        AtariEnv("pong", AtariSettings(num_envs=4), 0)
    assert [half.closed for half in MADE] == closed


class Sleepy:
    """Answers in a part of the time that there is, when asked for the nth time."""

    def __init__(self, asked):
        self.asked = asked

    def get(self, timeout):
        assert timeout == emulator.PATIENCE / emulator.PARTS
        self.asked -= 1
        if self.asked:
            raise Empty
        return "screens", None


def test_a_machine_that_slept_is_not_taken_for_an_emulator_that_hangs(plant):
    """A wait that is over at once, however long, is a part of the time alone."""
    one = emulator.Emulator("pong", object)
    one._answers = Sleepy(emulator.PARTS)
    assert one.answer() == "screens"
    one._answers = Sleepy(emulator.PARTS + 1)
    with pytest.raises(EmulatorError, match="not answered"):
        one.answer()


ENDS = """
import sys
import numpy as np
from metatest.atari import emulator
from metatest.atari.env import AtariEnv, AtariSettings, _step

env = AtariEnv("pong", AtariSettings(num_envs=2), seed=0)
emulator.PATIENCE = emulator.TO_CLOSE = 0.5
env._emulators[0].ask(lambda vector_env: _step(vector_env, np.array([99], np.int32)))
try:
    env._emulators[0].answer()
except emulator.EmulatorError as error:
    print(error, file=sys.stderr)
env.close()
sys.exit(3)
"""


def test_a_process_ends_although_ales_thread_hangs():
    """With nothing on stderr but the sentence; an action that there is not has ale-py wait."""
    ended = subprocess.run(
        [sys.executable, "-c", ENDS], capture_output=True, text=True, timeout=100
    )
    said = f"The emulator of pong has not answered for 0.5 seconds; {GO_ON}.\n"
    assert (ended.returncode, ended.stderr) == (3, said)


class Twentyseven(Emulator):
    """In pong all goes well for five updates of five steps."""

    def __init__(self, game, count, **options):
        super().__init__(game, count, **options)
        self.game = game

    def recv(self):
        if self.game == "pong" and self.taken == 27:
            hang()
        screen, reward, *ends, info = super().recv()
        return screen, reward.astype(np.float32), *ends, info


@pytest.mark.slow
def test_the_other_games_are_played_and_the_command_takes_the_run_up(
    tmp_path, monkeypatch, capsys, plant
):
    plant(Twentyseven)
    out = tmp_path / "out"
    sizes = {"num-steps": 5, "frames": 400, "seeds": 1, "log-every": 1, "checkpoint-every": 2}
    sizes |= {"video-steps": 0, "settings.num-envs": 2}
    options = [x for name, n in sizes.items() for x in (f"--atari-options.{name}", n)]
    command = ["--rule", "a2c", "--atari", "pong", "breakout", *options]
    command += ["--run-dir", out, "--jobs", 1]
    code, error = refused(monkeypatch, capsys, *command)
    assert code == 1 and error == f"metatest: {_hangs()}"
    (row,) = map(json.loads, (out / "results.jsonl").read_text().splitlines())
    assert (
        row["env"] == "breakout" and f"pong, a2c: {_hangs()}" in (out / "report.html").read_text()
    )
    life = out / "atari" / "pong" / "a2c" / "seed0"
    kept = {f: f.read_bytes() for f in (life / "checkpoints" / "4").rglob("*") if f.is_file()}
    assert len(kept) > 1 and not (life / "checkpoints" / "6").exists()
    plant(Emulator)
    run(monkeypatch, *command)
    rows = [json.loads(x) for x in (out / "results.jsonl").read_text().splitlines()]
    assert {x["env"]: x["updates"][-1] for x in rows} == {"pong": 10, "breakout": 10}
    assert MADE[0].taken == 1 + 6 * 5  # from update 4 on


def _hangs():
    return f"The emulator of pong has not answered for 0.2 seconds; {GO_ON}."
