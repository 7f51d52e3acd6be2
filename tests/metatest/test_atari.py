"""Atari: games, preprocessing against gymnasium, episodes, runs that are taken up again."""

import json
import sys
from dataclasses import replace
from functools import partial

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lpg.agents.impala_resnet import ResNetAgent
from lpg.agents.nature_network import AtariAgent
from lpg.heads import Heads
from lpg.learner import FrozenRule
from lpg.rules.lpg_eq7 import LPGWithBaseline
from metatest import agents
from metatest.algorithms import AlgorithmOptions, a2c, choose
from metatest.atari.env import AtariEnv, AtariSettings, _make, _step
from metatest.atari.final_agents import final_state
from metatest.atari.games import games, resolve
from metatest.atari.options import AtariOptions
from metatest.atari.run import evaluate_atari, run_agent
from metatest.atari.taking_up import AtariRun
from metatest.atari.train import hypers, make_programs
from metatest.family import TuningOptions

TINY = AtariOptions(
    frames=10 * 2 * 5 * 4, num_steps=5, seeds=2, log_every=2, checkpoint_every=4, video_steps=6,
    settings=AtariSettings(num_envs=2, emulator_threads=1),
)  # fmt: skip


def random_actions(env, seed=0):
    rng = np.random.default_rng(seed)

    def choose(screen):
        action = rng.integers(0, env.num_actions, len(screen)).astype(np.int32)
        return action, np.full(len(screen), -np.log(env.num_actions), np.float32)

    return choose


def test_fifty_seven_games_and_their_spellings():
    assert len(games()) == 57 and resolve(("atari57",)) == tuple(games().values())
    names = ("Breakout", "YarsRevenge", "yars_revenge", "ALE/Pong-v5")
    assert [g.name for g in resolve(names)] == ["breakout", "yars_revenge", "pong"]
    with pytest.raises(ValueError, match="did you mean .*breakout"):
        resolve(("Braekout",))
    game = games()["breakout"]
    assert game.human_normalised(game.random) == 0 and game.human_normalised(game.human) == 1


@pytest.mark.parametrize("life_loss", [False, True])
def test_screens_equal_gymnasium(life_loss):
    """The same actions through gymnasium's AtariPreprocessing and frame stack, no no-op start."""
    import ale_py
    from ale_py.vector_env import AtariVectorEnv

    gymnasium.register_envs(ale_py)
    env = _make(
        partial(AtariVectorEnv, noop_max=0), "breakout", 1, AtariSettings(life_loss=life_loss)
    )
    screen, info = env.reset(seed=3)
    reference = gymnasium.make("ALE/Breakout-v5", frameskip=1, repeat_action_probability=0.0)
    reference = gymnasium.wrappers.AtariPreprocessing(reference, noop_max=0)
    reference = gymnasium.wrappers.FrameStackObservation(reference, 4, padding_type="zero")
    expected, _ = reference.reset(seed=3)
    np.testing.assert_array_equal(screen[0], expected)
    rng, total = np.random.default_rng(0), 0.0
    for _ in range(150):
        action = rng.integers(0, 4)
        screen, reward, terminated, _, _ = _step(env, np.array([action], np.int32))
        expected, expected_reward, expected_end, _, _ = reference.step(action)
        total += expected_reward
        if expected_end:
            break
        assert reward[0] == expected_reward
        if not terminated[0]:
            np.testing.assert_array_equal(screen[0], expected)
    assert total > 0
    env.close()


def test_rollouts_join_and_count_whole_games():
    """Boxing's score moves both ways; Breakout loses five lives a game."""
    env = AtariEnv("breakout", AtariSettings(num_envs=4, life_loss=True), seed=1)
    first = env.rollout(random_actions(env), 60)
    second = env.rollout(random_actions(env, 1), 700)
    env.close()
    np.testing.assert_array_equal(first.observation[-1], second.observation[0])
    assert first.observation.shape == (61, 4, 4, 84, 84) and first.observation.dtype == np.uint8
    ends = int(first.terminated.sum() + second.terminated.sum())
    played = first.episodes + second.episodes
    assert 4 <= len(played) < ends / 3  # five lives each
    assert all(episode.frames > 400 for episode in played)
    # What was scored but belongs to games that still run is all that may be missing.
    assert sum(e.score for e in played) <= first.reward.sum() + second.reward.sum()
    assert sum(e.score for e in played) > 0


def test_rewards_are_clipped_and_scores_are_not():
    env = AtariEnv("krull", AtariSettings(num_envs=2), seed=0)
    rollout = env.rollout(random_actions(env), 300)
    scores = [half.score.sum() for half in env._halves]
    env.close()
    assert set(np.unique(rollout.reward)) <= {-1.0, 0.0, 1.0} and rollout.reward.sum() > 0
    assert sum(scores) + sum(e.score for e in rollout.episodes) > rollout.reward.sum()


def test_all_actions_are_the_joysticks_eighteen():
    settings = AtariSettings(num_envs=2, all_actions=True)
    env = AtariEnv("pong", settings, seed=0)
    env.rollout(lambda screen: (np.array([17]), np.zeros(1)), 1)
    env.close()
    assert env.num_actions == settings.num_actions(games()["pong"]) == 18
    assert AtariSettings().num_actions(games()["pong"]) == 6


def test_an_action_out_of_range_is_refused():
    env = AtariEnv("pong", AtariSettings(num_envs=2), seed=0)
    with pytest.raises(ValueError, match="lie in 0..5"):
        env.rollout(lambda screen: (np.array([6]), np.zeros(1)), 1)
    env.close()


def test_missing_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py.vector_env", None)
    with pytest.raises(ValueError, match=r"pip install 'lpg-engine\[atari\]'"):
        AtariEnv("pong", AtariSettings(), seed=0)


def test_the_residual_network_has_the_published_size():
    """1,089,232 in the torso and 257 an output (Espeholt et al. 2018, figure 3)."""
    agent = ResNetAgent(Heads(logits=6, value=1))
    shapes = jax.eval_shape(agent.init, jax.random.key(0), jnp.int32(0))
    expected, channels = 0, 4
    for width in (16, 32, 32):
        expected += (9 * channels + 1) * width + 4 * (9 * width + 1) * width
        channels = width
    expected += (11 * 11 * 32 + 1) * 256
    assert expected == 1_089_232
    assert sum(x.size for x in jax.tree.leaves(shapes)) == expected + 257 * 7


def test_network_has_the_published_size():
    """Kernels 8, 4, 3 with strides 4, 2, 1 leave 7 x 7 x 64 = 3,136 features for D(512)."""
    agent = AtariAgent(Heads(logits=4, value=1))
    shapes = jax.eval_shape(agent.init, jax.random.key(0), jnp.int32(0))
    expected = (8 * 8 * 4 + 1) * 32 + (4 * 4 * 32 + 1) * 64 + (9 * 64 + 1) * 64
    expected += (3136 + 1) * 512 + (512 + 1) * 5
    assert sum(x.size for x in jax.tree.leaves(shapes)) == expected


@pytest.fixture(scope="module")
def programs():
    rule = LPGWithBaseline(hidden_size=4, prediction_size=3, embedding_size=2)
    return make_programs(FrozenRule(rule, rule.init(jax.random.key(0))), 4)


def run(programs, folder, num_updates, on_progress=lambda n, line: None, options=TINY):
    game = games()["breakout"]
    return run_agent(programs, game, options, (5e-4, 0.5), 0, num_updates, folder, on_progress)


class Killed(Exception):
    pass


@pytest.mark.slow
def test_a_killed_run_goes_on_with_nothing_lost_or_counted_twice(programs, tmp_path):
    def kill(updates, line):
        if line and line["update"] == 6:  # logged, but the checkpoint is of update 4
            raise Killed

    with pytest.raises(Killed):
        run(programs, tmp_path, 10, kill)
    assert [
        json.loads(x)["update"] for x in (tmp_path / "metrics.jsonl").read_text().splitlines()
    ] == [2, 4, 6]
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"update": 7, "fra')  # torn by the kill
    lines = run(programs, tmp_path, 10)
    assert [line["update"] for line in lines] == [2, 4, 6, 8, 10]
    assert [line["frames"] for line in lines] == [80, 160, 240, 320, 400]
    assert [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()] == lines
    assert run(programs, tmp_path, 10) == lines  # finished: nothing is played


@pytest.mark.slow
def test_a_game_with_arms_seeds_and_video(tmp_path):
    options = replace(TINY, prediction_costs=(0.5, 1.0), selection_frames=4 * 40)
    game = games()["breakout"]
    result = evaluate_atari(AtariRun(a2c(), game, options, tmp_path))
    assert (result.suite, result.env, result.reference_return) == ("atari", "breakout", game.human)
    assert len(result.selection) == 2 and len(result.late_return) == 2
    assert result.interactions == [20, 40, 60, 80, 100]
    assert (tmp_path / "videos" / "breakout-a2c.gif").stat().st_size > 1000
    with pytest.raises(ValueError, match=r"gamma \(0.995 -> 0.9\)"):
        evaluate_atari(AtariRun(a2c(), game, replace(options, gamma=0.9), tmp_path))
    played = (tmp_path / "atari" / "breakout" / "a2c" / "seed1" / "metrics.jsonl").read_text()
    video = (tmp_path / "videos" / "breakout-a2c.gif").read_bytes()
    longer = AtariRun(a2c(), game, replace(options, frames=15 * 40, log_every=5), tmp_path)
    result = evaluate_atari(longer, save_agents=True)
    assert result.interactions == [20, 40, 60, 80, 100, 120, 150]
    assert (longer.folder / "seed1" / "metrics.jsonl").read_text().startswith(played)
    assert (tmp_path / "videos" / "breakout-a2c.gif").read_bytes() != video  # of the older agent
    for seed in (0, 1):
        trained = agents.load(agents.agent_file(tmp_path, "breakout", "a2c", seed))
        state = final_state(make_programs(a2c().learner, 4), longer.folder / f"seed{seed}")
        assert int(state.update) == 15 and trained.about["steps"] == 150
        screens = jnp.arange(3 * 4 * 84 * 84, dtype=jnp.uint8).reshape((3, 4, 84, 84))
        expected = trained.body.outputs(state.learner.agent.params, screens).logits
        np.testing.assert_array_equal(trained.policy(screens), expected)
        assert np.ptp(expected) > 0 and trained.body.agent == AtariAgent(Heads(4, value=1))


def test_an_agent_that_tunes_itself_plays_and_is_taken_up_again(tmp_path):
    """IMPALA's settings, two trajectories an update, metaparameters in the log; the network is the
    small one, which compiles sooner."""
    tuning = TuningOptions(num_envs=2, lag=1, meta_learning_rate=0.1)
    (stac,) = choose(("stac[lam,alpha]",), AlgorithmOptions(tuning=tuning))
    published = stac.training.atari
    assert isinstance(make_programs(stac.learner, 6, published, 4).agent, ResNetAgent)
    small = replace(stac.training, atari=replace(published, torso="nature"))
    stac = replace(stac, training=small)
    options = replace(TINY, frames=4 * 2 * 2 * 5 * 4, video_steps=0, seeds=1)
    pong = games()["pong"]
    result = evaluate_atari(AtariRun(stac, pong, options, tmp_path))
    assert result.interactions == [40, 80] and (result.num_envs, result.learning_rate) == (2, 6e-4)
    assert result.prediction_cost is None and set(result.traces) == {"lam", "alpha"}
    (log,) = tmp_path.glob("atari/pong/stac-lam-alpha-*/seed0/metrics.jsonl")
    first, last = map(json.loads, log.read_text().splitlines())
    assert (first["frames"], last["frames"]) == (160, 320)
    assert first["traces"]["lam"] != last["traces"]["lam"]
    again = evaluate_atari(AtariRun(stac, pong, options, tmp_path))
    assert again == result


def test_hypers_and_a2c_learner_move_every_parameter():
    from metatest.atari.train import newborn, play_and_learn

    programs = make_programs(a2c().learner, 4)
    env = AtariEnv("breakout", TINY.settings, seed=0)
    before = newborn(programs, 0, hypers(1e-3, 0.5, 0.99))
    after, interval = play_and_learn(programs, before, env, 3, 5)
    env.close()
    assert int(after.update) == 3 and interval.updates == 3
    params = (x.learner.agent.params for x in (before, after))
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), *params)
    assert all(jax.tree.leaves(moved))


@pytest.mark.slow
@pytest.mark.parametrize("game", games())
def test_every_game_starts_steps_and_restarts(game):
    env = AtariEnv(game, AtariSettings(num_envs=2), seed=0)
    assert env.num_actions == games()[game].minimal_actions
    choose, ended = random_actions(env), []
    for _ in range(200):
        ended += env.rollout(choose, 100).episodes
        if ended:
            break
    rollout = env.rollout(choose, 10)
    env.close()
    assert rollout.observation.std() > 0
    assert ended, "no game ended within 20,000 steps"
