"""An agent that is saved and loaded acts as the one that was trained, to the bit."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lpg.agent import Body
from lpg.agents.impala_resnet import ResNetAgent
from lpg.heads import Heads
from lpg.instance import sample_params
from lpg.rollout import rollout, start
from metatest import agents, video
from metatest.agents import AgentFileError, TrainedAgent, agent_file, load
from metatest.algorithms import AlgorithmOptions, choose
from metatest.evaluate import Budget, make_task
from metatest.family import TuningOptions
from metatest.gif import is_of
from metatest.save_agents import film_first, save_lives
from metatest.saved import Saved
from metatest.taking_up import kept_folder, refuse_lives_without_agents
from metatest.tasks import find_task
from metatest.train_agent import train

BUDGET = Budget(seeds=2, steps=40, num_envs=2, num_steps=5)
TUNING = TuningOptions(num_envs=2, pairs="same", meta_learning_rate=0.5)
# A network that is told its metaparameters, and a table in a chain of its own.
TOLD = pytest.param(("mgrl", "CartPole-v1", "D(4)"), marks=pytest.mark.slow, id="mgrl")
CASES = [TOLD, pytest.param(("a2c", "short", "table"), id="a2c")]


@pytest.fixture(scope="module", params=CASES)
def lived(request, tmp_path_factory):
    """A run directory, the algorithm, the task and its lives, of which the last has the most."""
    name, env, network = request.param
    (algorithm,) = choose((name,), AlgorithmOptions(tuning=TUNING))
    spec = replace(find_task(env), agent=network)
    task, ended = make_task(algorithm, spec, BUDGET), []
    run_dir = tmp_path_factory.mktemp(name)
    folder = kept_folder(run_dir, algorithm, spec, BUDGET)

    def on_end(lives):
        ended.append(lives)
        assert Saved(folder / "report").finished() is None  # a kill would not lose the agents
        save_lives(run_dir, algorithm, spec, 40, task, lives)

    rates, costs, saved = np.array([1e-2, 3e-2]), np.full(2, 0.5), Saved(folder / "report")
    key = jax.random.key(1)
    train(task, key, rates, costs, 0.9, 4, 2, saved=saved, on_end=on_end)
    return run_dir, algorithm, spec, task, ended[0]


def life(lives, seed):
    return jax.tree.map(lambda x: x[seed], lives)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_loaded_agent_acts_as_the_trained_one_to_the_bit(lived, seed):
    run_dir, algorithm, spec, task, lives = lived
    trained = load(agent_file(run_dir, spec.name, algorithm.name, seed))
    env, params = trained.world()
    own = life(lives, seed)
    key, begin = jax.random.key(3), start(jax.random.key(2), env, params, 3)
    # Traced in one program each, of the same shapes.
    play = partial(rollout, key, num_steps=9)
    loaded = jax.jit(lambda: play(env, params, trained.policy, begin)[:2])()
    as_it_was = own._replace(lagging=()).policy(task)
    expected = jax.jit(lambda: play(task.env, own.instance(task), as_it_was, begin)[:2])()
    for a, b in zip(*map(jax.tree.leaves, (loaded, expected)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.ptp(loaded[1].behaviour_log_prob) > 0  # of logits that tell states apart


def test_a_file_says_what_the_agent_is(lived):
    run_dir, algorithm, spec, task, lives = lived
    about = [load(agent_file(run_dir, spec.name, algorithm.name, seed)).about for seed in (0, 1)]
    assert [x["seed"] for x in about] == [0, 1]
    assert [x["learning_rate"] for x in about] == pytest.approx([1e-2, 3e-2])
    for x in about:
        assert (x["environment"], x["algorithm"]) == (spec.name, algorithm.name)
        assert (x["network"], x["steps"], x["suite"]) == (spec.agent, 40, spec.suite)
        assert x["version"].keys() == algorithm.version.keys()
        assert x["prediction_cost"] == (0.5 if algorithm.name == "a2c" else None)


def test_an_agent_is_in_its_own_world(lived):
    run_dir, algorithm, spec, task, lives = lived
    worlds = [load(agent_file(run_dir, spec.name, algorithm.name, i)).world()[1] for i in (0, 1)]
    for seed, params in enumerate(worlds):
        expected = jax.tree.leaves(life(lives, seed).instance(task))
        for a, b in zip(jax.tree.leaves(params), expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_lives_that_are_over_without_their_agents_are_refused(lived):
    run_dir, algorithm, spec, task, lives = lived
    refuse_lives_without_agents(run_dir, algorithm, spec, 2)
    file = agent_file(run_dir, spec.name, algorithm.name, 1)
    kept = file.read_bytes()
    file.unlink()
    with pytest.raises(ValueError, match="were not kept; --save-agents needs another --run-dir"):
        refuse_lives_without_agents(run_dir, algorithm, spec, 2)
    file.write_bytes(kept)


def test_the_first_agent_is_filmed_where_its_world_can_be_drawn(lived, monkeypatch):
    run_dir, algorithm, spec, task, lives = lived
    monkeypatch.setattr(video, "film", partial(video.film, num_steps=8))
    film_first(run_dir, spec.name, algorithm.name)
    path = run_dir / "videos" / f"{spec.name}-{algorithm.name}.gif"
    if spec.name == "CartPole-v1":
        assert not path.exists()
        return
    theta = agents.digest(load(agent_file(run_dir, spec.name, algorithm.name, 0)).params)
    assert is_of(path, f"8 steps of the agent sha256 {theta}")
    written = path.stat().st_mtime_ns
    film_first(run_dir, spec.name, algorithm.name)
    assert path.stat().st_mtime_ns == written  # that of the same agent stays
    path.write_bytes(path.read_bytes()[:-40])
    path.write_bytes(path.read_bytes().replace(theta[:9].encode(), b"another's"))
    film_first(run_dir, spec.name, algorithm.name)
    assert is_of(path, f"8 steps of the agent sha256 {theta}")


def planted(path):
    """Of many heads, told something, on Atari."""
    head = Heads(logits=3, value=1, hidden=(0, 2))
    heads = head._replace(auxiliary=(head, head), condition=2)
    network = ResNetAgent(heads)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.int32(0))
    theta = jax.tree.map(lambda x: np.full(x.shape, 0.5, np.float32), shapes)
    body = Body(network, jnp.array([True, False, True]), jnp.array([0.25, 0.5]))
    about = {"network": "resnet", "environment": "pong", "observation_shape": [4, 84, 84]}
    agents.save(path, TrainedAgent(body, theta, about))
    return body, theta


def test_heads_within_heads_and_atari_networks_come_back(tmp_path):
    body, theta = planted(tmp_path / "x.safetensors")
    found = load(tmp_path / "x.safetensors")
    assert found.body.agent == body.agent and found.instance == ()
    np.testing.assert_array_equal(found.body.action_mask, body.action_mask)
    np.testing.assert_array_equal(found.body.condition, body.condition)
    assert jax.tree.structure(found.params) == jax.tree.structure(theta)
    assert agents.digest(found.params) == agents.digest(theta)


def test_what_is_no_agent_is_refused_in_a_sentence(tmp_path):
    path = tmp_path / "x.safetensors"
    planted(path)
    whole = path.read_bytes()
    agents.save(path, load(path)._replace(params={"x": np.zeros(3, np.float32)}))
    shapeless = path.read_bytes()
    for data, told in (
        (whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:], "does not match its checksum"),
        (whole.replace(b"lpg-agent", b"lpg-a-rul"), "holds no agent"),
        (whole[:100], "name a file that metatest --save-agents wrote"),
        (shapeless, "holds no agent that this version knows"),
    ):
        path.write_bytes(data)
        with pytest.raises(AgentFileError, match=told) as caught:
            load(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(AgentFileError, match="Cannot read"):
        load(tmp_path / "nowhere.safetensors")


def test_instances_of_worlds_differ_so_that_keeping_them_matters():
    spec = find_task("short")
    lengths = {
        int(sample_params(spec.env, jax.random.key(i), spec.env_params).length) for i in range(9)
    }
    assert len(lengths) > 3
