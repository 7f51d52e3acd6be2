"""Lives side by side: the same numbers, each failure alone, all of them saved at a signal."""

import io
import json
import os
import signal
import time

import numpy as np
import pytest
from rich.console import Console
from test_metatest_cli import run
from test_statistics import result

from lpg.runs import start
from lpg.runs.checkpoint import newest_leaves
from lpg.runs.signals import Stopped
from metatest.algorithms import AlgorithmOptions, a2c, choose
from metatest.atari import jobs, sweep
from metatest.atari.games import games
from metatest.atari.jobs import Jobs
from metatest.atari.options import AtariOptions
from metatest.atari.taking_up import AtariRun
from metatest.report.failures import load_failures
from metatest.report.results import load_results

CHOSEN = tuple(games()[name] for name in ("pong", "breakout", "qbert", "alien"))
OPTIONS = AtariOptions(seeds=1, frames=4800, log_every=1, video_steps=0)  # two updates


def remake():
    return choose(("a2c",), AlgorithmOptions())


def lines(folder):
    """Of metrics.jsonl, but for times."""
    written = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: x for k, x in line.items() if "second" not in k} for line in written]


@pytest.mark.slow
def test_numbers_do_not_depend_on_how_many_are_lived_at_a_time(tmp_path, monkeypatch):
    """Two seeds in this process and in two of their own, whose leaves are the same bits."""
    sizes = {"num-steps": 5, "frames": 80, "seeds": 2, "log-every": 1, "checkpoint-every": 4}
    sizes |= {"video-steps": 0, "settings.num-envs": 2, "settings.emulator-threads": 1}
    options = [x for name, n in sizes.items() for x in (f"--atari-options.{name}", n)]
    command = ["--rule", "a2c", "--atari", "breakout", *options]
    for n in (1, 2):
        run(monkeypatch, *command, "--jobs", n, "--run-dir", tmp_path / str(n))
    one, two = (tmp_path / str(n) / "atari" / "breakout" / "a2c" for n in (1, 2))
    for seed in ("seed0", "seed1"):
        assert lines(one / seed) == lines(two / seed) and len(lines(one / seed)) == 2
        leaves = newest_leaves(one / seed)
        for name, x in newest_leaves(two / seed).items():
            np.testing.assert_array_equal(x, leaves[name])
    name = "learner.agent.params.Dense_0.kernel"
    assert (leaves[name] != newest_leaves(one / "seed0")[name]).any()
    first, second = (load_results(tmp_path / str(n)) for n in (1, 2))
    assert first == second and len(first) == 1


def live_as_planned(remake, player, game, given, life, save_agents, tell, stop):
    """pong's agent diverges and qbert's dies."""
    options, run_dir, seed = given
    assert (remake()[player].name, seed, save_agents) == ("a2c", 7, True)
    if life is None:
        return result(game, "a2c", [1.0])
    (run_dir / "log").open("a").write(f"{game} {life.name} {os.getpid()}\n")
    if game == "pong":
        raise FloatingPointError("Agents of a2c on pong diverged.")
    if game == "qbert":
        os.kill(os.getpid(), signal.SIGKILL)
    line = {"frames": 2400 * life.num_updates, "score": 1.0, "frames_per_second": 9}
    tell((life.num_updates, line))
    return None


def play(tmp_path, console=None, number=2):
    console = console or Console(file=io.StringIO(), width=200)
    return sweep.play_all(
        tmp_path, [a2c()], CHOSEN, OPTIONS, console, 7, True, Jobs(number, remake)
    )


@pytest.mark.slow
def test_what_fails_takes_nothing_with_it_and_what_is_over_is_not_begun_again(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(jobs, "_work", live_as_planned)
    over = tmp_path / "atari" / "breakout" / "a2c" / "seed0" / "checkpoints" / "2"
    over.mkdir(parents=True)
    (tmp_path / "results.jsonl").touch()
    console = Console(file=io.StringIO(), width=200)
    assert not play(tmp_path, console)
    assert {row.env for row in load_results(tmp_path)} == {"alien", "breakout"}
    failures = {x.env: x.why for x in load_failures(tmp_path)}
    assert failures.pop("pong") == "Agents of a2c on pong diverged."
    assert failures.pop("qbert") == (
        "The process that plays qbert is no more (it was ended by SIGKILL); run the same command "
        "again, which goes on from the last checkpoint."
    )
    assert not failures and capsys.readouterr().err.count("metatest: ") == 2
    log = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(line[:2] for line in log) == [[x, "seed0"] for x in ("alien", "pong", "qbert")]
    assert len({number for *_, number in log} | {str(os.getpid())}) == 4
    shown = console.file.getvalue()
    assert "alien a2c seed0 4,800 frames  score 1.0  9 frames/s" in shown
    assert (tmp_path / "report.html").exists()


def live_until_stopped(remake, player, game, given, life, save_agents, tell, stop):
    tell((0, {}))
    while not stop:
        time.sleep(0.01)
    (given[1] / f"{game} {life.name}").write_text("saved")
    raise Stopped


@pytest.mark.slow
def test_a_signal_has_all_saved_and_nothing_more_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "_work", live_until_stopped)
    began = []

    def interrupt(self, who, updates, line):
        began.append(who)
        if len(began) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(sweep._Display, "progress", interrupt)
    with pytest.raises(Stopped):
        play(tmp_path)
    assert sorted(began) == ["breakout a2c seed0", "pong a2c seed0"]
    assert sorted(path.name for path in tmp_path.glob("* *")) == ["breakout seed0", "pong seed0"]


@pytest.mark.slow
def test_what_is_no_failure_of_one_run_alone_ends_the_sweep(tmp_path):
    run = AtariRun(a2c(), CHOSEN[0], OPTIONS, tmp_path)
    evaluation = jobs._Evaluation(run, Jobs(1, remake), 0, False)
    with pytest.raises(OSError, match="No space left"):
        evaluation.end(OSError(28, "No space left on device"))


@pytest.mark.parametrize(
    ("cores", "platform", "number"), [(1, "cpu", 1), (7, "gpu", 1), (16, "gpu", 4), (16, "tpu", 1)]
)
def test_there_is_a_job_for_every_four_cores(monkeypatch, cores, platform, number):
    monkeypatch.setattr(jobs, "cores", lambda: cores)
    monkeypatch.setattr(jobs.jax, "default_backend", lambda: platform)
    assert jobs.default_number() == number


def test_devices_are_shared_unless_the_user_has_it_otherwise(monkeypatch):
    name = "XLA_PYTHON_CLIENT_PREALLOCATE"
    monkeypatch.delenv(name, raising=False)
    start.take_device("metatest")
    assert name not in os.environ
    start.take_device("metatest", shared=True)
    assert os.environ[name] == "false"
    monkeypatch.setenv(name, "true")
    start.take_device("metatest", shared=True)
    assert os.environ[name] == "true"
