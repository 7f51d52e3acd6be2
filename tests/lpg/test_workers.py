"""Processes of their own: their news, their deaths, and that none outlives who started it."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from lpg.runs import workers
from lpg.runs.workers import DiedError, Workers


def count(n, tell, stop):
    for i in range(n):
        tell(i)
    return n * n


def fail(tell, stop):
    raise FloatingPointError("diverged")


class Odd(Exception):
    def __init__(self, one, two):
        super().__init__(one)


def fail_oddly(tell, stop):
    raise Odd("strange", "for pickle")


def end(number, tell, stop):
    os.kill(os.getpid(), number)
    time.sleep(60)


def until_stopped(tell, stop):
    """Deaf to what a terminal sends to all."""
    os.kill(os.getpid(), signal.SIGINT)
    tell("began")
    while not stop:
        time.sleep(0.01)
    return "saved"


def never(tell, stop):
    tell("began")
    time.sleep(60)


def all_news(working, num_over):
    found, end = [], time.monotonic() + 60
    while sum(news.over for news in found) < num_over:
        assert time.monotonic() < end
        found += working.news(1.0)
    return found


def test_news_come_in_order_and_no_more_are_started_than_may_be():
    with Workers(2) as working:
        working.start("three", partial(count, 3))
        working.start("none", partial(count, 0))
        assert working.free == 0
        found = all_news(working, 2)
        assert working.free == 2
    told = {who: [news[1:] for news in found if news.who == who] for who in ("three", "none")}
    assert told["three"] == [(0, False), (1, False), (2, False), (9, True)]
    assert told["none"] == [(0, True)]


def test_what_one_raises_or_dies_of_is_news_and_the_others_go_on():
    works = {"fails": fail, "odd": fail_oddly, "dies": partial(end, signal.SIGKILL)}
    works["counts"] = partial(count, 2)
    with Workers(4) as working:
        for who, work in works.items():
            working.start(who, work)
        found = {news.who: news.what for news in all_news(working, 4) if news.over}
    assert isinstance(found["fails"], FloatingPointError) and str(found["fails"]) == "diverged"
    assert "in fail\n" in found["fails"].__notes__[0]  # where it was
    assert isinstance(found["odd"], DiedError) and str(found["odd"]) == "Odd: strange"
    assert isinstance(found["dies"], DiedError) and str(found["dies"]) == "it was ended by SIGKILL"
    assert found["counts"] == 4


@pytest.mark.parametrize("how", ["asked", "by the block's end"])
def test_they_are_told_to_stop_and_those_that_do_not_are_ended(monkeypatch, how):
    monkeypatch.setattr(workers, "TO_STOP", 3.0)  # not over there
    with Workers(2) as working:
        working.start("soft", until_stopped)
        working.start("hard", never)
        began = []
        while len(began) < 2:
            began += working.news(1.0)
        processes = [process for _, process in working._working.values()]
        started = time.monotonic()
        if how == "asked":
            found = {news.who: news.what for news in working.stop()}
            assert found == {"soft": "saved"} and working.free == 2
    assert [process.exitcode for process in processes] == [0, -signal.SIGKILL]
    assert 2.9 < time.monotonic() - started < 9


def test_a_second_signal_ends_them_at_once():
    with pytest.raises(KeyboardInterrupt), Workers(1) as working:
        working.start("hard", never)
        until_it_began(working)
        ((_, process),) = working._working.values()
        started = time.monotonic()
        raise KeyboardInterrupt
    assert process.exitcode == -signal.SIGKILL and time.monotonic() - started < 4


def until_it_began(working):
    while not list(working.news(1.0)):
        pass


PARENT = """
import sys
from functools import partial
from pathlib import Path
sys.path.insert(0, {here!r})
from lpg.runs.workers import Workers
from test_workers import note_the_end

if __name__ == "__main__":
    with Workers(1) as working:
        working.start("child", partial(note_the_end, Path(sys.argv[1])))
        while True:
            for news in working.news(1.0):
                print(news.what, flush=True)
"""


def note_the_end(path, tell, stop):
    tell(os.getpid())
    while not stop:
        time.sleep(0.01)
    path.write_text("saved")


def test_they_end_saved_where_their_parent_is_killed(tmp_path):
    script, note = tmp_path / "parent.py", tmp_path / "note"
    script.write_text(PARENT.format(here=str(Path(__file__).parent)))
    parent = subprocess.Popen([sys.executable, script, note], stdout=subprocess.PIPE, text=True)
    try:
        child = int(parent.stdout.readline())
    finally:
        parent.kill()
        parent.communicate()
    end = time.monotonic() + 20
    while _alive(child):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert note.read_text() == "saved"


def _alive(number):
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # ended, though nobody has asked after it
