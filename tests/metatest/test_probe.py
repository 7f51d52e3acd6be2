"""The probe of a rule, measurement by measurement, and its commands end to end."""

import json
from dataclasses import dataclass, replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_probe_targets import RULE, noisy

from lpg.files.storage import save_rule
from lpg.learner import FrozenRule
from lpg.rollout import rollout
from lpg.rules.lpg import LPG, LPGTargets
from lpg.rules.lpg_v import LPGV
from lpg.runs import figures
from metatest.probe import cli as probe_cli
from metatest.probe import lives as probe_lives
from metatest.probe import targets as probe_targets
from metatest.probe.plots import draw_targets
from metatest.probe.protocol import HEADLINE_ARM, HORIZON, INTACT, Y_CUT, Group, ProbeProtocol
from metatest.probe.results import ChainLives, Estimate, Probe, RewardFree
from metatest.train_agent import update

TINY = ProbeProtocol(
    lives=3, updates=30, num_envs=2, arms=((20.0, 1.0),), arm_lives=2,
    sparse_lives=2, sparse_updates=10, reward_free_lives=2, reward_free_updates=10,
)  # fmt: skip


@pytest.fixture(scope="module")
def probed():
    return FrozenRule(RULE, noisy(RULE))


@pytest.fixture(scope="module")
def value_probed():
    rule = LPGV(hidden_size=4)
    return FrozenRule(rule, noisy(rule))


# Lives -------------------------------------------------------------------------------------------


def test_cut_lives_do_not_depend_on_y_and_others_do(probed):
    cut = probe_lives.CutPrediction(probed.rule, probed.rule_params)
    task = probe_lives._task(cut, "long", TINY)
    lives = probe_lives._begin(task, jax.random.key(0), [Group(INTACT, 40.0, 0.5, 1)])
    life = jax.tree.map(lambda x: x[0], lives)
    _, trajectory, _ = rollout(
        life.key, task.env, life.env_params, life.policy(task), life.rollout, 6
    )

    def read(reads_y):
        state = life.learner._replace(own=jnp.array(reads_y))
        return cut.inputs(life.body(task), state, trajectory, life.hypers.gamma)

    plain = FrozenRule.inputs(cut, life.body(task), life.learner, trajectory, life.hypers.gamma)
    chex.assert_trees_all_equal(read(True), plain)
    assert np.abs(plain.prediction).max() > 1e-3
    uniform = jnp.zeros_like(plain.prediction)
    chex.assert_trees_all_equal(read(False), plain._replace(prediction=uniform))
    assert cut.heads(2) == RULE.heads(2)


@dataclass(frozen=True)
class Constant(LPG):
    def targets(self, rule_params, inputs):
        logits = jnp.zeros((*inputs.reward.shape, self.prediction_size))
        return LPGTargets(rule_params + 0.0 * inputs.reward, logits)


@dataclass(frozen=True)
class Tell(LPG):
    """A rule whose pi_hat is what y says, less what a uniform one does."""

    def targets(self, rule_params, inputs):
        y = jax.nn.softmax(inputs.prediction[:-1])
        return LPGTargets(y[..., 0] - 1 / self.prediction_size, jnp.zeros_like(y))


def test_cut_lives_are_those_of_their_groups():
    """Of lives with alpha_y = 0 only those that read y learn anything."""
    tell = Tell(hidden_size=2, prediction_size=3, embedding_size=2)
    groups = [Group(INTACT, 40.0, 0.0, 2), Group(Y_CUT, 40.0, 0.0, 1), Group(INTACT, 20.0, 0.0, 1)]
    task = probe_lives._task(probe_lives.CutPrediction(tell, ()), "long", TINY)
    lives = probe_lives._begin(task, jax.random.key(0), groups)
    after, _ = jax.jit(lambda lives: update(task, lives))(lives)
    moved = np.abs(np.asarray(after.learner.agent.params - lives.learner.agent.params)).max(
        axis=(1, 2)
    )
    assert (moved > 1e-3).tolist() == [True, True, False, True] and moved[2] < 1e-6
    # Lives of equal place in their groups are born alike.
    np.testing.assert_array_equal(lives.learner.agent.params[0], lives.learner.agent.params[2])
    assert lives.hypers.learning_rate.tolist() == [40.0, 40.0, 40.0, 20.0]


def test_chain_lengths_are_spread_as_the_environment_draws_them():
    lengths = probe_lives.chain_lengths(5, 50, 92)
    np.testing.assert_array_equal(np.sort(lengths), np.repeat(np.arange(5, 51), 2))
    # 16 of the 46 lengths are at most 20: 22.3 lives of 64.
    assert (probe_lives.chain_lengths(5, 50, 64) <= 20).sum() == 22
    assert (probe_lives.chain_lengths(5, 50, 2) <= 20).tolist() == [True, False]


@pytest.fixture(scope="module")
def planted():
    """Three lives on chains of 10 under a rule that teaches nothing.

    The first is right at both starts, the second wrong at one, the third in doubt: with logits of
    +-2 it is right with probability 1 / (1 + e^-4) = .982 at one, and .018 at the other.
    """
    rule = Constant(hidden_size=2, prediction_size=3, embedding_size=2)
    protocol = replace(TINY, num_envs=3)
    task = probe_lives._task(probe_lives.CutPrediction(rule, jnp.float32(0.0)), "long", protocol)
    params = replace(task.env_params, min_length=jnp.int32(10), max_length=jnp.int32(10))
    groups = [Group(INTACT, 40.0, 0.0, 3)]
    lives = probe_lives._begin(replace(task, env_params=params), jax.random.key(0), groups)
    tables = np.zeros(lives.learner.agent.params.shape, np.float32)
    for life, starts in enumerate([(9.0, 9.0), (9.0, -9.0), (2.0, -2.0)]):
        tables[life, 0, :2] = np.array([1, -1]) * starts[0]  # action 0 is right at state 0
        tables[life, 19, :2] = np.array([-1, 1]) * starts[1]  # action 1 at state 2 L - 1
    tables[0, :, 2] = 1e3  # y is certain everywhere: H = 0
    agent = lives.learner.agent._replace(params=jnp.asarray(tables))
    lives = lives._replace(learner=lives.learner._replace(agent=agent))
    ticks = []
    after, summary = probe_lives.live(task, lives, 20, ticks.append)
    ended = jax.jit(jax.vmap(lambda life: probe_lives.end(task, life)))(after)
    return task, ticks, summary, jax.device_get(ended)


def test_collapse_is_certainty_of_the_wrong_action(planted):
    _, _, _, ended = planted
    doubt = 1 / (1 + np.exp(-4.0))
    expected = [[1, 1], [1, 0], [doubt, 1 - doubt]]
    np.testing.assert_allclose(ended.right, expected, atol=1e-5)
    assert probe_lives.collapsed(ended.right).tolist() == [False, True, False]


def test_start_states_are_those_of_the_environment(planted):
    task = planted[0]
    for key in jax.random.split(jax.random.key(3), 8):
        params = replace(task.env_params, length=jnp.int32(10))
        observation, state = task.env.reset_env(key, params)
        assert int(observation) == (0, 19)[int(state.correct_action)]


def test_information_is_the_entropy_that_y_lacks(planted):
    np.testing.assert_allclose(planted[3].information, [np.log(3), 0.0, 0.0], atol=1e-5)


def test_late_return_is_that_of_the_last_tenth(planted):
    """2 of 20 updates: 40 steps of 3 environments are 12 episodes of 10 steps."""
    _, ticks, summary, _ = planted
    assert ticks == [2 * 3] * 10
    assert summary.count.tolist() == [12.0] * 3
    returns = probe_lives.late_return(summary)
    assert returns[0] == 1.0 and abs(returns[1]) < 1.0
    unfinished = summary._replace(count=np.array([12.0, 0.0, 12.0]))
    assert np.isnan(probe_lives.late_return(unfinished)).tolist() == [False, True, False]


# The record --------------------------------------------------------------------------------------


def test_estimate():
    """Of 1, 2, 6: mean 3, variance (4 + 1 + 9) / 2 = 7."""
    found = Estimate.of(np.array([1.0, 2.0, np.nan, 6.0]))
    assert found.mean == 3.0 and found.lives == 3
    np.testing.assert_allclose(found.standard_error, np.sqrt(7 / 3))
    assert Estimate.of(np.array([])) == Estimate(None, None, 0)
    assert Estimate.of(np.array([2.0])) == Estimate(2.0, None, 1)


def chain_lives(variant, prediction_cost, returns):
    lengths = np.array([20, 21, 50])
    collapsed = np.array([False, True, False])
    return ChainLives(
        variant, 40.0, prediction_cost, lengths, np.array(returns), collapsed, np.ones(3)
    )


@pytest.fixture(scope="module")
def record(value_probed):
    """Of a rule without predictions, so that nothing is cut, but for chains planted by hand."""
    entropies = RewardFree(np.array([0, 10]), np.array([[0.7, 0.7], [0.2, 0.4]]))
    return Probe(
        [chain_lives(INTACT, 0.1, [0.0, 0.0, 0.0]), chain_lives(INTACT, 0.5, [0.9, 0.8, 0.4])],
        {INTACT: Estimate(0.5, 0.1, 4)},
        entropies,
        entropies,
        probe_targets.drift(value_probed),
        probe_targets.no_evidence(value_probed, jax.random.key(0), 8),
        probe_targets.responses(value_probed),
    )


def test_headlines_are_read_at_their_arm_and_lengths(record):
    cut = replace(record, chains=[*record.chains, chain_lives(Y_CUT, 0.5, [0.5, 0.1, 0.3])])
    found = cut.to_json()
    np.testing.assert_allclose(found["short_chains_intact"], 0.9)
    np.testing.assert_allclose(found["long_chains_intact"], 0.6)
    np.testing.assert_allclose(found["long_chains_y_cut"], 0.2)
    np.testing.assert_allclose(found["collapsed_lives"], 1 / 3)
    np.testing.assert_allclose(found["reward_free_entropy_table"], 0.3)
    assert found["drift"] == record.drift.at(0.7)


def test_a_rule_without_predictions_is_not_cut(record, value_probed, tmp_path, monkeypatch):
    assert not probe_lives.has_predictions(value_probed)
    assert {group.variant for group in TINY.chain_groups(False)} == {INTACT}
    found = record.to_json()
    assert found["long_chains_y_cut"] is None and found["sparse_y_cut"] is None
    assert record.responses.next_y.shape == (0,)
    saved = []
    monkeypatch.setattr(figures, "save", lambda figure, path: saved.append(figure))
    draw_targets(record, tmp_path / "targets.png")
    assert len(saved[0].axes) == 3 and "no predictions" in saved[0].get_suptitle()


@pytest.mark.parametrize("change", [{"lives": 1}, {"updates": 15}, {"sparse_updates": 0}])
def test_protocol_refuses_nonsense(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(TINY, **change)


# The commands ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_command_writes_figures_and_pictures(tmp_path, probed, monkeypatch, capsys):
    path = tmp_path / "rule.safetensors"
    save_rule(path, probed.rule_params, RULE.architecture(), {})
    monkeypatch.setattr(probe_cli, "QUICK", TINY)
    out = tmp_path / "out"
    arguments = ["--rule", str(path), "--run-dir", str(out), "--quick", "--seed", "3"]
    assert probe_cli.main(arguments) == 0

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    found = json.loads((out / "probe.json").read_text(), parse_constant=refuse)
    for name in (
        "long_chains_intact", "long_chains_y_cut", "short_chains_intact", "collapsed_lives",
        "drift", "reward_free_entropy_table", "reward_free_entropy_network", "pi_hat_rms",
    ):  # fmt: skip
        assert isinstance(found[name], float), name
    assert found["protocol"]["quick"] and found["protocol"]["seed"] == 3
    assert len(found["rule"]["sha256"]) == 64
    # Two variants of two arms, and alpha_y = 0; three lives are at 12, 28 and 43 of 5 ... 50.
    assert [(c["variant"], c["prediction_cost"]) for c in found["chains"]] == [
        ("intact", 1.0), ("intact", 0.5), ("y_cut", 1.0), ("y_cut", 0.5), ("intact", 0.0),
    ]  # fmt: skip
    assert found["chains"][1]["length"] == [12, 28, 43]
    assert found["estimates"]["long_chains_intact"]["lives"] == 2
    entropy = found["reward_free"]["network"]
    assert entropy["updates"] == list(range(11)) and abs(entropy["mean"][0] - np.log(2)) < 0.05
    for name in ("chains", "targets", "drift", "entropy"):
        assert (out / f"{name}.png").stat().st_size > 5000
        assert (out / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert "late return, L > 20" in capsys.readouterr().out


def test_bad_rule_is_one_sentence_and_exit_code_2(tmp_path, capsys):
    arguments = ["--rule", "no-such-rule", "--run-dir", str(tmp_path / "out")]
    assert probe_cli.main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("metatest probe: No rule named 'no-such-rule'") and "\n" not in error
    assert not (tmp_path / "out").exists()


def test_no_room_is_one_sentence_and_exit_code_1(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    arguments = ["--rule", "lpg-tabular", "--run-dir", str(tmp_path / "file" / "out")]
    assert probe_cli.main(arguments) == 1
    error = capsys.readouterr().err.strip()
    assert "choose another --run-dir" in error and "\n" not in error


def lives_with_and_without_y(rule, arm, count):
    """Late returns [2, N] of lives on chains of L > 20 at one arm, intact and with y cut."""
    probed = choose((rule,), AlgorithmOptions(precision="float32"))[0]
    protocol = ProbeProtocol(
        lives=count if arm == HEADLINE_ARM else 2, arms=(arm,), arm_lives=count
    )
    found = probe_lives.live_on_chains(probed, protocol, jax.random.key(0), lambda updates: None)
    at_arm = {x.variant: x for x in found if x[1:3] == arm}
    return [at_arm[v].late_return[at_arm[v].length > HORIZON] for v in (INTACT, Y_CUT)]


@pytest.mark.slow
def test_lpg_tabular_makes_no_use_of_its_predictions():
    """Lives are the same with and without y, but for one or another that rounding turns round."""
    intact, cut = lives_with_and_without_y("lpg-tabular", HEADLINE_ARM, 12)
    assert len(intact) == 8 and abs(np.median(intact - cut)) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lpg-15", "lpg-cpu"])
def test_shipped_rules_bootstrap(name):
    """64 lives gave .996 and -.05 for lpg-15, .997 and .10 for lpg-cpu: some chains are solved
    without y by luck."""
    intact, cut = lives_with_and_without_y(name, HEADLINE_ARM, 24)
    assert len(intact) == 16 and intact.mean() > 0.95 and cut.mean() < 0.4
