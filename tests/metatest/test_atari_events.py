"""TensorBoard, whose tags have no spaces, hears of an Atari life while it is lived."""

from test_event_log import read_events

from lpg.agents.nature_network import AtariAgent
from metatest.algorithms import AlgorithmOptions, choose
from metatest.atari import run as run_module
from metatest.atari.events import Events
from metatest.atari.games import games
from metatest.atari.lives import Life
from metatest.atari.options import AtariOptions
from metatest.atari.taking_up import AtariRun
from metatest.atari.train import Programs


def line(frames, score, **more):
    return {
        "frames": frames, "score": score, "reward_per_step": 0.25, "frames_per_second": 99,
        "human_normalised": None if score is None else score / 10, **more,
    }  # fmt: skip


def test_each_line_is_there_when_it_was_told(tmp_path):
    told = []
    events = Events(tmp_path, lambda *news: told.append(news))
    first, second = line(800, 5.0), line(1600, None, traces={"gamma": 0.5})
    events(2, first)  # of the checkpoint
    events(2, second)
    _, start, *scalars = read_events(tmp_path)
    assert start.step == 201
    values = [(e.step, e.summary.value[0].tag, e.summary.value[0].simple_value) for e in scalars]
    assert values == [
        (400, "reward_per_step", 0.25), (400, "frames_per_second", 99), (400, "gamma", 0.5),
    ]  # fmt: skip
    assert told == [(2, first), (2, second)]
    events.close()


def test_a_life_has_its_own_folder(tmp_path, monkeypatch):
    (algorithm,) = choose(("a2c",), AlgorithmOptions())
    run = AtariRun(algorithm, games()["pong"], AtariOptions(), tmp_path)
    life = Life("seed0", 0, (5e-4, 0.5), 3)
    seen = []

    def run_agent(*arguments):
        *_, events, _ = arguments
        events(0, {})
        events(1, line(800, 2.0))
        seen.append(arguments)

    monkeypatch.setattr(run_module, "run_agent", run_agent)
    programs = Programs(algorithm.learner, AtariAgent(algorithm.learner.heads(6)))
    run_module.live(run, life, programs, lambda *news: None)
    tags = [
        e.summary.value[0].tag for e in read_events(tmp_path / "tensorboard/pong/a2c/seed0")[2:]
    ]
    assert tags == ["reward_per_step", "return", "human_normalised", "frames_per_second"]
    assert len(seen) == 1
