"""Who plays by which parameters and draws, the video, and the sweep; nothing is emulated."""

import io
import json
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from test_statistics import result

from lpg.agents.nature_network import AtariAgent
from lpg.heads import Heads
from lpg.learner import FrozenRule, LearnerState
from lpg.rules.a2c import A2C
from lpg.update import AgentState
from metatest.algorithms import a2c
from metatest.atari import run, sweep, video
from metatest.atari.env import AtariEnv, AtariRollout, AtariSettings, Episode
from metatest.atari.games import games
from metatest.atari.lines import as_curve, log_line
from metatest.atari.options import AtariOptions
from metatest.atari.taking_up import AtariRun
from metatest.atari.train import AtariState, Interval, Player, Programs, hypers, play_and_learn
from metatest.train_agent import Acting


@dataclass(frozen=True, eq=False)
class Counting(Programs):
    """Parameters are the number of updates that made them; actions are remembered, not chosen."""

    acted: list = None
    read: list = None

    def act(self, actor, key, screen):
        params = int(actor.params)
        self.acted.append((params, tuple(np.asarray(jax.random.key_data(key)).tolist())))
        return jnp.zeros(len(screen), jnp.int32), jnp.zeros(len(screen))

    def learn(self, state, trajectories):
        self.read.append([int(x.action[0, 0]) for x in trajectories])
        old = state.learner.agent.params
        return state._replace(
            learner=LearnerState(AgentState(old + 1, ()), ()),
            lagging=(*state.lagging, Acting(old, None))[1:],
            kept=tuple(trajectories[self.learner.fresh :]),
            update=state.update + 1,
        )


class Twice(FrozenRule):
    """Reads every trajectory two times."""

    num_trajectories = 2


class Silent(AtariEnv):
    """Rollouts whose actions are their number, with a reward of 1 and one finished game each."""

    def __post_init__(self):
        self.rollouts, self.closed, self.num_actions = 0, False, 6

    def rollout(self, choose, num_steps):
        for _ in range(num_steps):
            choose(np.zeros((2, 4, 84, 84), np.uint8))
        self.rollouts += 1
        shape = (num_steps, 2)
        return AtariRollout(
            np.zeros((num_steps + 1, 2, 1), np.uint8), np.full(shape, self.rollouts, np.int32),
            np.ones(shape, np.float32), np.zeros(shape, bool), np.zeros(shape, bool),
            np.zeros(shape, np.float32), [Episode(float(self.rollouts), 4)],
        )  # fmt: skip


def programs(learner):
    return Counting(learner, AtariAgent(Heads(logits=6, value=1)), acted=[], read=[])


def state_at(update, lag=1):
    """As a run is at `update`, which as many updates as the lag are behind."""
    learner = LearnerState(AgentState(jnp.int32(update), ()), ())
    lagging = tuple(Acting(jnp.int32(n), None) for n in range(update - lag, update))
    settings = hypers(1e-3, 0.5, 0.99)
    return AtariState(learner, lagging, jax.random.key(7), jnp.int32(update), settings)


@pytest.mark.parametrize("lag", [1, 3])
def test_a_rollout_is_played_by_the_parameters_of_so_many_updates_ago(lag):
    """Over two intervals as over one."""
    planted, env = programs(FrozenRule(A2C(), ())), Silent("pong", AtariSettings(2), 0)
    halfway, _ = play_and_learn(planted, state_at(5, lag), env, 2, 1)
    play_and_learn(planted, halfway, env, 2, 1)
    assert [params for params, _ in planted.acted] == [5 - lag, 6 - lag, 7 - lag, 8 - lag]
    keys, planted.acted[:] = [key for _, key in planted.acted], []
    play_and_learn(planted, state_at(5, lag), env, 4, 1)
    assert [key for _, key in planted.acted] == keys and len(set(keys)) == 4


def test_an_interval_has_its_rewards_and_games():
    planted, env = programs(FrozenRule(A2C(), ())), Silent("pong", AtariSettings(2), 0)
    after, interval = play_and_learn(planted, state_at(5), env, 4, 3)
    assert [params for params, _ in planted.acted] == [4] * 3 + [5] * 3 + [6] * 3 + [7] * 3
    assert planted.read == [[1], [2], [3], [4]]
    assert (int(after.update), int(after.learner.agent.params), after.kept) == (9, 9, ())
    assert (interval.updates, interval.reward_per_step) == (4, 1.0)
    assert [episode.score for episode in interval.episodes] == [1.0, 2.0, 3.0, 4.0]


def test_a_learner_that_reads_twice_plays_twice_at_first_and_keeps_the_newer():
    planted, env = programs(Twice(A2C(), ())), Silent("pong", AtariSettings(2), 0)
    after, _ = play_and_learn(planted, state_at(0), env, 2, 1)
    assert planted.read == [[1, 2], [2, 3]]
    play_and_learn(planted, after, env, 1, 1)
    assert planted.read[-1] == [3, 4]


def test_draws_go_with_the_update_and_differ_from_call_to_call():
    """So that a run that is taken up again draws as the one that went on would have."""
    screen, planted = np.zeros((2, 4, 84, 84), np.uint8), programs(FrozenRule(A2C(), ()))
    player = Player(planted, state_at(3))
    for state, update in ((None, 3), (state_at(4), 4), (state_at(5), 3)):
        if state is not None:
            player.follow(state, update)
        player(screen), player(screen)
    keys = [key for _, key in planted.acted]
    assert keys[:2] == keys[4:] and len(set(keys)) == 4
    assert [params for params, _ in planted.acted] == [2, 2, 3, 3, 4, 4]


def test_no_two_rollouts_are_played_with_the_same_draws():
    planted, env = programs(FrozenRule(A2C(), ())), Silent("pong", AtariSettings(2), 0)
    play_and_learn(planted, state_at(5), env, 4, 3)
    keys = [key for _, key in planted.acted]
    assert len(keys) == 12 and len(set(keys)) == 12


class Filmed(Silent):
    """Of its two environments only the first is filmed, and of its screens the newest."""

    def rollout(self, choose, num_steps):
        screens = np.random.default_rng(0).integers(0, 256, (num_steps + 1, 2, 4, 3, 5), np.uint8)
        self.screens = screens
        return super().rollout(choose, num_steps)._replace(observation=screens)


@pytest.fixture
def filmed(monkeypatch):
    """The environment that a video is made of."""
    made = []

    def make(game, settings, seed):
        made.append(Filmed(game, settings, seed))
        made[-1].close = lambda: made.append("closed")
        return made[-1]

    monkeypatch.setattr(video, "AtariEnv", make)
    return made


def film(path, num_steps=6):
    settings = AtariSettings(num_envs=30)
    planted = programs(FrozenRule(A2C(), ()))
    video.record(planted, state_at(1), games()["pong"], settings, num_steps, path, "x")
    assert {params for params, _ in planted.acted} == {1}  # the newest


def test_a_video_holds_every_second_screen_at_twice_its_size(filmed, tmp_path):
    film(tmp_path / "videos" / "pong.gif")
    env, closed = filmed
    assert (env.settings.num_envs, closed) == (2, "closed")
    with Image.open(tmp_path / "videos" / "pong.gif") as image:
        assert (image.n_frames, image.info["loop"]) == (4, 0)
        for i, t in enumerate((0, 2, 4, 6)):
            image.seek(i)
            shown = np.asarray(image.convert("L"))
            np.testing.assert_array_equal(shown, np.kron(env.screens[t, 0, 3], np.ones((2, 2))))


def test_emulators_end_where_a_video_fails(filmed, tmp_path, monkeypatch):
    monkeypatch.setattr(Counting, "act", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        film(tmp_path / "pong.gif")
    assert filmed[-1] == "closed"


def test_seeds_of_the_command_are_those_of_all_lives(tmp_path, monkeypatch):
    """No two of them share one, arms' included; those of 0 are 0, 1, and so on."""
    drawn = []

    def planted(programs, game, options, arm, seed, num_updates, folder, *others):
        drawn.append(seed)
        line = {"update": 1, "score": 1.0, "reward_per_step": 0.0, "episodes": 1, "updates": 1}
        folder.mkdir()
        (folder / "metrics.jsonl").write_text(json.dumps(line))

    monkeypatch.setattr(run, "run_agent", planted)
    monkeypatch.setattr(run, "film_first", lambda programs, run: None)
    options = AtariOptions(prediction_costs=(0.5, 1.0))
    for seed in (0, 1, 7, -1, 2**31):
        run.evaluate_atari(AtariRun(a2c(), games()["pong"], options, tmp_path / str(seed), seed))
    assert drawn[:5] == [1_000_000, 1_000_000, 0, 1, 2]  # two arms, three agents
    lives = [drawn[i : i + 5] for i in range(0, len(drawn), 5)]
    assert len({draws for life in lives for draws in life}) == 5 * 4
    keys = [jax.random.key_data(jax.random.key(draws)) for life in lives for draws in life[1:]]
    assert len({tuple(np.asarray(key).tolist()) for key in keys}) == len(keys)
    assert all(draws >= 0 for draws in drawn)  # emulators refuse others


@pytest.mark.parametrize("number", [1, 3])
def test_agents_that_diverged_are_counted_and_all_of_them_refused(number, tmp_path, monkeypatch):
    def planted(programs, game, options, arm, seed, num_updates, folder, *others):
        line = {"update": 1, "score": 1.0, "reward_per_step": 0.0, "episodes": 1, "updates": 1}
        folder.mkdir()
        (folder / "metrics.jsonl").write_text(json.dumps(line | {"diverged": seed < number}))

    monkeypatch.setattr(run, "run_agent", planted)
    monkeypatch.setattr(run, "film_first", lambda programs, run: None)
    asked = AtariRun(a2c(), games()["pong"], AtariOptions(), tmp_path)
    if number < 3:
        assert run.evaluate_atari(asked).diverged == number
    else:
        with pytest.raises(FloatingPointError, match="a2c on pong diverged with every arm"):
            run.evaluate_atari(asked)


@pytest.mark.parametrize("value", [1.0, np.nan, np.inf])
def test_a_line_says_whether_parameters_are_finite(value):
    state = state_at(4)
    params = {"kernel": jnp.array([0.0, value]), "bias": jnp.zeros(1)}
    state = state._replace(learner=LearnerState(AgentState(params, ()), ()))
    game, made = games()["pong"], programs(FrozenRule(A2C(), ()))
    line = log_line(game, AtariOptions(), 4, Interval(2, 1.0, 0.5, []), made, state)
    assert line["diverged"] == (not np.isfinite(value))


def lines(*parts):
    """Of (update, updates since the line before, games, their mean score, reward per step)."""
    names = ("update", "updates", "episodes", "score", "reward_per_step")
    return [dict(zip(names, part, strict=True)) for part in parts]


def test_lives_with_lines_at_different_updates_meet_where_all_have_one():
    """Weighed by hand: (2 * 10 + 6 * 30) / 8 games, (4 * 1 + 1 * 6) / 5 updates."""
    longer = lines((4, 4, 0, None, 0.5), (8, 4, 2, 10.0, 1.0), (9, 1, 6, 30.0, 6.0))
    other = lines((4, 4, 1, 5.0, 0.0), (9, 5, 0, None, 2.0))
    curve = as_curve([longer, other])
    assert curve.updates.tolist() == [4, 9]
    np.testing.assert_array_equal(curve.episode_return, [[np.nan, 5.0], [25.0, np.nan]])
    np.testing.assert_array_equal(curve.reward_per_step, [[0.5, 0.0], [2.0, 2.0]])
    traced = [line | {"traces": {"lam": line["update"]}} for line in longer]
    assert as_curve([traced, [traced[-1]]]).traces["lam"].tolist() == [[9.0, 9.0]]
    assert curve.diverged.tolist() == [False, False]  # lines that do not say


def test_a_sweep_keeps_a_result_a_game_and_tells_how_far_it_is(tmp_path, monkeypatch):
    reports = []

    def planted(asked, on_progress, save_agents):
        algorithm, game = asked.algorithm, asked.game
        line = {"score": None if game.name == "pong" else 12.34, "frames": 4800}
        on_progress(0, {})  # taken up where nothing was played yet
        on_progress(2, line | {"frames_per_second": 1234})
        return result(game.name, algorithm.name, [1.0])

    monkeypatch.setattr(sweep, "evaluate_atari", planted)
    monkeypatch.setattr(sweep, "write_report", lambda output, runs: reports.append((output, runs)))
    console = Console(file=io.StringIO(), width=100)
    chosen = (games()["pong"], games()["breakout"])
    algorithms = [a2c(), replace(a2c(), name="other")]
    assert sweep.play_all(tmp_path, algorithms, chosen, AtariOptions(), console)
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["env"] for line in lines] == ["pong"] * 2 + ["breakout"] * 2
    assert reports == [(tmp_path, [tmp_path])] * 4
    shown = console.file.getvalue().splitlines()
    assert shown[0] == "pong a2c 4,800 frames  score -  1,234 frames/s"
    assert shown[2] == "breakout a2c 4,800 frames  score 12.3  1,234 frames/s" and len(shown) == 4
