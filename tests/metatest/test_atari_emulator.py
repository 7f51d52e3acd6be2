"""Atari's bookkeeping on an emulator made up for the purpose, step by step against a loop."""

import sys
from types import SimpleNamespace

import ale_py
import numpy as np
import pytest

from metatest.atari.env import FRAMES_PER_STEP, AtariEnv, AtariSettings
from metatest.atari.games import games, resolve
from metatest.atari.options import AtariOptions

LENGTHS = np.array([3, 5, 4, 7])  # steps of a game of each environment
MADE = []


class Emulator:
    """Screens show how many steps were taken; an action a scores 3 a - 4; every second step costs a
    life. Games are reset in the step that ends them."""

    single_action_space = SimpleNamespace(n=6)

    def __init__(self, game, count, **options):
        self.options, self.count, self.place = options, count, 2 * (len(MADE) % 2)
        self.screen, self.taken, self.sent, self.closed = None, 0, None, False
        MADE.append(self)

    def reset(self, seed):
        self.seeds, self.screen = seed, np.zeros((self.count, 4, 84, 84), np.uint8)
        return self.screen, {"episode_frame_number": np.zeros(self.count, int)}

    def send(self, action):
        assert self.sent is None and action.dtype == np.int32
        self.sent = action

    def recv(self):
        reward, self.sent = 3.0 * self.sent - 4.0, None
        self.taken += 1
        self.screen[:] = self.taken  # into the buffer that was handed out before
        played = self.taken % LENGTHS[self.place : self.place + self.count]
        lost = np.full(self.count, self.options["life_loss_info"] and self.taken % 2 == 0)
        return (
            self.screen,
            reward,
            lost | (played == 0),
            played < 0,
            {"episode_frame_number": 4 * played},
        )

    def close(self):
        assert self.sent is None, "ale-py would wait for ever"
        self.closed = True


@pytest.fixture
def emulator(monkeypatch):
    MADE.clear()
    planted = SimpleNamespace(AtariVectorEnv=Emulator)
    monkeypatch.setitem(sys.modules, "ale_py.vector_env", planted)


def by_the_screen(screen):
    """Action: the number on the screen modulo 3; its log-probability, as good as any, its minus."""
    action = (screen[:, -1, 0, 0] % 3).astype(np.int32)
    return action, -action.astype(np.float32)


@pytest.mark.parametrize("life_loss", [False, True])
def test_every_row_holds_what_its_action_led_to_and_games_are_scored_whole(emulator, life_loss):
    env = AtariEnv("pong", AtariSettings(num_envs=4, life_loss=life_loss), seed=0)
    rollouts = [env.rollout(by_the_screen, steps) for steps in (6, 9)]
    env.close()
    taken, played, score, expected = 0, np.zeros(4, int), np.zeros(4), []
    for rollout in rollouts:
        games_over = []
        for t in range(len(rollout.action)):
            assert (rollout.observation[t] == taken).all()
            action = taken % 3
            assert (rollout.action[t] == action).all()
            assert (rollout.behaviour_log_prob[t] == -action).all()
            assert (rollout.reward[t] == max(-1.0, min(1.0, 3 * action - 4))).all()
            taken, played, score = taken + 1, played + 1, score + 3 * action - 4
            over = played == LENGTHS
            lost = life_loss and taken % 2 == 0
            assert rollout.terminated[t].tolist() == [bool(x or lost) for x in over]
            games_over += [(score[i], 4 * LENGTHS[i]) for i in np.flatnonzero(over)]
            played, score = np.where(over, 0, played), np.where(over, 0, score)
        assert (rollout.observation[-1] == taken).all() and not rollout.truncated.any()
        expected.append(sorted(games_over))
    assert [sorted(map(tuple, rollout.episodes)) for rollout in rollouts] == expected
    assert len(expected[0]) == 4 and len(expected[1]) == 9


def test_settings_reach_both_halves_and_no_two_environments_share_a_seed(emulator):
    env = AtariEnv("pong", AtariSettings(4, sticky_actions=0.25, emulator_threads=3), seed=1)
    AtariEnv("pong", AtariSettings(4), seed=2)
    seeds = np.concatenate([half.seeds for half in MADE])
    assert len(set(seeds.tolist())) == 8 and (seeds >= 0).all()
    for half in MADE[:2]:
        assert half.options["repeat_action_probability"] == 0.25
        assert half.options["num_threads"] == 3 and not half.options["reward_clipping"]
        assert half.options["max_num_frames_per_episode"] == 30 * 60 * 60
    assert env.num_actions == 6
    env.rollout(by_the_screen, 1)
    env.close()
    assert [half.closed for half in MADE] == [True, True, False, False]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_envs": 3}, "even and at least 2, got 3"),
        ({"num_envs": 0}, "even and at least 2, got 0"),
        ({"sticky_actions": 1.0}, r"sticky_actions must lie in \[0, 1\), got 1.0"),
    ],
)
def test_settings_refuse_nonsense(settings, message):
    with pytest.raises(ValueError, match=message):
        AtariSettings(**settings)


@pytest.mark.parametrize("name", ["seeds", "num_steps", "log_every", "checkpoint_every", "frames"])
def test_options_refuse_nonsense(name):
    with pytest.raises(ValueError, match=f"Atari's {name} must be at least 1, got 0"):
        AtariOptions(**{name: 0})
    with pytest.raises(ValueError, match="at least one learning rate"):
        AtariOptions(learning_rates=())


def test_published_frames_are_the_published_updates():
    """Table 4: 30 environments, 20 steps of 4 frames; 200M frames are 83,333 updates."""
    options = AtariOptions()
    assert options.num_updates(200_000_000) == 83_333
    assert 83_333 * options.steps_per_update() * FRAMES_PER_STEP == 199_999_200
    assert [options.num_updates(n) for n in (1, 2_399, 4_799, 4_800)] == [1, 1, 1, 2]
    assert options.num_updates(200_000_000, fresh=2) == 41_666


def test_games_are_ales_in_alphabetical_order():
    assert list(games()) == sorted(games())
    assert set(games()) <= set(ale_py.roms.get_all_rom_ids())


def test_a_game_named_twice_is_played_once_and_all_includes_it():
    assert [game.name for game in resolve(("Pong", "ALE/Pong-v5", "pong"))] == ["pong"]
    assert len(resolve(("pong", "atari57"))) == 57
    with pytest.raises(
        ValueError, match="Unknown Atari game 'Zzzzzzzz'; did you mean any of alien"
    ):
        resolve(("Zzzzzzzz",))
