"""The suite against the paper's tables typed out here, cohorts and their padding, and pictures."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from some_slow import some_slow

from envs.render import render
from envs.suite import SUITE, cohorts, make, normalised_return, row_of, stack
from lpg.rollout import rollout, start

PREDICTION_COSTS = (0.1, 0.5, 1.0)
TABLE_ARMS = ("table", "sgd", (20, 40, 80))
ADAM_ARMS = ("adam", (5e-4, 1e-3, 2e-3, 5e-3))
# Oh et al. 2020, Table 3: agent, optimiser, learning rates, lifetime in steps.
TABLE_3 = {
    "dense": (*TABLE_ARMS, 3_000_000),
    "sparse": (*TABLE_ARMS, 3_000_000),
    "long_horizon": (*TABLE_ARMS, 3_000_000),
    "longer_horizon": (*TABLE_ARMS, 3_000_000),
    "long_dense": (*TABLE_ARMS, 3_000_000),
    "rand_dense": ("C(16)-D(32)", *ADAM_ARMS, 30_000_000),
    "rand_long_horizon": ("C(16)-D(32)", *ADAM_ARMS, 30_000_000),
    "rand_small": ("D(32)", *ADAM_ARMS, 30_000_000),
    "rand_sparse": ("D(32)", *ADAM_ARMS, 30_000_000),
    "rand_very_dense": ("C(32-16-16)-D(256)", *ADAM_ARMS, 30_000_000),
    "short": (*TABLE_ARMS, 1_000_000),
    "short_noisy": (*TABLE_ARMS, 1_000_000),
    "long": (*TABLE_ARMS, 1_000_000),
    "long_noisy": (*TABLE_ARMS, 1_000_000),
    "distractor": ("D(16)", "adam", (2e-3, 5e-3, 1e-2), 2_000_000),
}
# Appendix A.1 and A.2: size, number of objects, step limit, number of wall cells.
GRIDS = {
    "dense": (11, 11, 4, 500, 0),
    "sparse": (13, 13, 2, 50, 0),
    "long_horizon": (11, 11, 4, 1000, 0),
    "longer_horizon": (7, 9, 7, 2000, 7),
    "long_dense": (11, 11, 4, 2000, 9 + 9 - 1),  # a column and a row that cross
    "rand_dense": (11, 11, 4, 500, 0),
    "rand_long_horizon": (11, 11, 4, 1000, 0),
    "rand_small": (5, 7, 4, 500, 2),
    "rand_sparse": (5, 7, 3, 50, 0),
    "rand_very_dense": (11, 11, 1, 2000, 0),
}
CHAINS = {"short": (5, 30, False), "short_noisy": (5, 30, True), "long": (5, 50, False),
          "long_noisy": (5, 50, True), "distractor": (5, 30, False)}  # fmt: skip
COHORTS = (
    ("dense", "sparse", "long_horizon", "longer_horizon", "long_dense"),
    ("rand_dense", "rand_long_horizon"),
    ("rand_small", "rand_sparse"),
    ("rand_very_dense",),
    ("short", "short_noisy", "long", "long_noisy"),
    ("distractor",),
)


def test_rows_are_table_3():
    assert list(SUITE) == list(TABLE_3)
    for name, (agent, optimizer, rates, lifetime) in TABLE_3.items():
        row = SUITE[name]
        assert (row.name, row.agent, row.optimizer) == (name, agent, optimizer)
        assert row.learning_rates == rates and row.prediction_costs == PREDICTION_COSTS
        assert row.lifetime_steps == lifetime
        assert row.best_return > row.random_return


def test_grid_params_are_the_published_sizes():
    for name, (height, width, num_objects, max_steps, num_walls) in GRIDS.items():
        for num_actions in (9, 18):
            _, params = make(name, num_actions)
            assert (params.height, params.width) == (height, width), name
            assert params.object_valid.shape == (num_objects,) and params.object_valid.all()
            assert params.max_steps_in_episode == max_steps, name
            assert params.wall.shape == (height * width,) and params.wall.sum() == num_walls, name
            assert params.num_actions == num_actions


def test_a_padded_cohort_of_grids_has_as_many_states_as_its_largest_world():
    """A table of the most cells by the most objects would be several times as large."""
    names = COHORTS[0]
    env, stacked = stack(names)
    sizes = [GRIDS[name][0] * GRIDS[name][1] * 2 ** GRIDS[name][2] for name in names]
    assert env.num_states == max(sizes) == 7 * 9 * 2**7
    assert jax.vmap(env.count_states)(stacked).tolist() == sizes
    last = jax.tree.map(lambda x: x[sizes.index(max(sizes))], stacked)
    _, state = env.reset_env(jax.random.key(0), env.sample_params(jax.random.key(1), last))
    corner = state.replace(agent_cell=last.height * last.width - 1)
    assert env.observe(None, corner, None, last) == env.num_states - 1


def test_chain_params_are_the_published_ranges():
    for name, (low, high, noisy) in CHAINS.items():
        _, stacked = stack((name,))
        assert (stacked.min_length[0], stacked.max_length[0]) == (low, high)
        assert bool(stacked.noisy[0]) is noisy


def grouped(*names):
    return tuple(tuple(row.name for row in rows) for rows in cohorts([SUITE[n] for n in names]))


def test_all_environments_form_six_cohorts_in_order():
    assert grouped(*SUITE) == COHORTS
    assert grouped("long", "dense", "short") == (("long", "short"), ("dense",))
    with pytest.raises(ValueError, match="do not share"):
        stack(("dense", "rand_dense"))
    with pytest.raises(ValueError, match="do not share"):
        stack(("short", "distractor"))


def test_random_worlds_of_different_sizes_form_no_cohort(monkeypatch):
    """Their observations differ in shape, even where the agent's architecture is the same."""
    monkeypatch.setitem(SUITE, "rand_small", replace(SUITE["rand_small"], agent="C(16)-D(32)"))
    assert grouped("rand_small", "rand_dense") == (("rand_small",), ("rand_dense",))


def test_environments_of_ones_own_are_cohorts_of_their_own():
    rows = [row_of(name, object(), (3,)) for name in ("mine:A", "mine:B")]
    assert [len(group) for group in cohorts([*rows, SUITE["short"]])] == [1, 1, 1]


def test_the_row_of_an_environment_of_ones_own():
    """By what it shows, unless it has one."""
    table, vector, image = (
        row_of("a", object(), (), 12),
        row_of("b", object(), (4,)),
        row_of("c", object(), (3, 8, 8)),
    )
    assert [row.agent for row in (table, vector, image)] == ["table", "D(64-64)", "C(16)-D(128)"]
    assert (table.optimizer, table.learning_rates) == ("sgd", SUITE["short"].learning_rates)
    assert (image.optimizer, image.learning_rates) == ("adam", SUITE["rand_dense"].learning_rates)
    assert {row.lifetime_steps for row in (table, vector, image)} == {512_000}

    class Mine:
        suite_row = replace(vector, agent="D(8)")

    assert row_of("d", Mine(), (4,)) == replace(vector, agent="D(8)", name="d")


def _play(env, params, num_actions):
    """What 120 steps of a uniform policy show."""
    state = start(jax.random.key(5), env, params, 3)

    def policy(observation):
        return jnp.zeros((observation.shape[0], num_actions))

    return rollout(jax.random.key(6), env, params, policy, state, 120)[1:]


@pytest.mark.parametrize("names", some_slow([c for c in COHORTS if len(c) > 1], COHORTS[1:3]))
def test_a_padded_cohort_under_vmap_equals_each_environment_alone(names):
    env, stacked = stack(names)
    alone = [make(name, *([18] if name in GRIDS else []), seed=7) for name in names]
    instances = jax.vmap(env.sample_params, (None, 0))(jax.random.key(7), stacked)
    num_actions = 18 if names[0] in GRIDS else 2
    if names[0] in GRIDS:
        everyone = jnp.full((len(names),), 18, jnp.int32)
        instances = instances.replace(num_actions=everyone)
    assert env.num_actions == num_actions
    play = jax.jit(jax.vmap(lambda params: _play(env, params, num_actions)))
    padded, padded_summary = play(instances)
    for i, (own_env, own) in enumerate(alone):
        want, summary = jax.jit(lambda params, e=own_env: _play(e, params, num_actions))(own)
        got = jax.tree.map(lambda leaf, i=i: leaf[i], padded)
        if names[0].startswith("rand"):
            planes = want.observation.shape[2]
            assert not got.observation[:, :, planes:].any()  # padded object types
            got = got._replace(observation=got.observation[:, :, :planes])
        jax.tree.map(np.testing.assert_array_equal, got, want)
        for a, b in zip(padded_summary, summary, strict=True):
            np.testing.assert_allclose(a[i], b, atol=1e-5)
        assert np.any(want.reward != 0)  # something happened


def test_instances_made_for_nine_actions_keep_nine():
    env, params = make("sparse", 9)
    keys = jax.random.split(jax.random.key(0), 16)
    sampled = jax.vmap(env.sample_params, (0, None))(keys, params)
    assert (sampled.num_actions == 9).all() and len(np.unique(sampled.object_cell[:, 0])) > 1


def test_equal_environments_are_equal_and_hash_alike():
    for name in ("dense", "rand_small", "short", "distractor"):
        one, other = make(name)[0], make(name)[0]
        assert one == other and hash(one) == hash(other) and one is not other
    assert make("dense", seed=0)[0] != make("dense", seed=1)[0]  # other default params
    assert make("dense", 9)[0] != make("dense", 18)[0]
    assert make("short")[0] != make("long")[0] != make("distractor")[0]
    assert make("dense")[0] != make("long_horizon")[0]


def test_wrong_names_and_action_counts_are_refused():
    for function in (make, lambda name: stack((name,))):
        with pytest.raises(ValueError, match="Unknown environment 'desne'; known are dense, "):
            function("desne")
    with pytest.raises(ValueError, match="9 or 18, got 10"):
        make("dense", 10)
    with pytest.raises(ValueError, match="chain of two actions"):
        make("short", 18)


def test_normalised_return_is_linear_between_the_references_and_clipped():
    row = SUITE["dense"]
    low, high = row.random_return, row.best_return
    for value, want in ((low, 0), (high, 1), (low + (high - low) / 4, 0.25), (low - 1, 0),
                        (high + 1, 1)):  # fmt: skip
        assert normalised_return(row, value) == pytest.approx(want)
        assert normalised_return("dense", value) == pytest.approx(want)


def test_render_draws_walls_objects_by_the_sign_of_their_reward_and_the_agent():
    env, params = make("rand_small")  # walls (1, 2) and (3, 4); objects +, +, -, -
    _, state = env.reset(jax.random.key(0), params)
    state = state.replace(
        agent_cell=jnp.int32(8),  # row 1, column 1, on top of the second object
        object_cell=jnp.array([0, 8, 6, 34], jnp.int32),
        present=jnp.array([True, True, True, False]),
    )
    image = render(env, state, params, cell_pixels=8)
    assert image.shape == (5 * 8, 7 * 8, 3) and image.dtype == np.uint8

    def corner(row, column):
        return image[row * 8, column * 8].tolist()

    def centre(row, column):
        return image[row * 8 + 4, column * 8 + 4].tolist()

    floor, wall, good, bad = corner(4, 0), corner(1, 2), corner(0, 0), corner(0, 6)
    assert wall == corner(3, 4) and corner(1, 1) == good and corner(4, 6) == floor
    assert good[1] > max(good[0], good[2]) and bad[0] > max(bad[1:])  # green and red
    agent = centre(1, 1)
    assert agent[2] > max(agent[:2]) and centre(0, 0) == good  # blue
    colours = np.unique(image.reshape(-1, 3), axis=0)
    assert len(colours) == 5  # and nothing else
    walls = (image[::8, ::8] == np.array(wall)).all(-1)
    assert np.argwhere(walls).tolist() == [[1, 2], [3, 4]]
    assert (image.reshape(-1, 3) == agent).all(-1).sum() == 4 * 4


def test_render_of_a_padded_world_shows_its_own_size_and_refuses_what_it_cannot_draw():
    env, stacked = stack(("dense", "longer_horizon"))
    params = jax.tree.map(lambda leaf: leaf[1], stacked)
    _, state = env.reset(jax.random.key(0), params)
    assert render(env, state, params).shape == (7 * 16, 9 * 16, 3)
    with pytest.raises(ValueError, match="index the batch first"):
        render(env, state, stacked)
    with pytest.raises(ValueError, match="cell_pixels"):
        render(env, state, params, cell_pixels=2)
    chain, _ = make("short")
    with pytest.raises(ValueError, match="Only grid worlds"):
        render(chain, state, params)
