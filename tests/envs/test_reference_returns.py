"""The reference returns: the dynamic programme against hand arithmetic and brute force."""

import itertools

import numpy as np
import pytest
from numpy_models import CHAINS, GRIDS, TABULAR, Grid, grid_outcome

from envs.reference_returns import REFERENCE_RETURNS
from envs.suite import SUITE, normalised_return
from scripts.compute_reference_returns import (
    TARGET,
    Instance,
    after_respawn,
    best_of_moves,
    best_return,
    greedy_policy,
    render,
    sample_instance,
    simulate,
    uniform_policy,
)


@pytest.mark.parametrize("num_actions", [9, 18])
def test_one_cell_and_one_object_equal_hand_arithmetic(num_actions):
    """Reward 1, p_terminate 1/4, p_respawn 1/2, three steps, the agent always on the object.

    Step 1 collects: 1. With probability 3/4 the episode goes on with the object absent; it stays
    absent through step 1's respawns, so step 2 collects nothing; it comes back at the end of step
    2 with probability 1/2 and step 3 collects 1: in all 1 + 3/4 * 1/2 = 1.375. A fourth step adds
    3/4 of: (back after step 2, hence collected at step 3 and not at step 4: 0) or (1/2 not back,
    then 1/2 back after step 3, collected at step 4: 1/4): 1.375 + 3/4 * 1/4 = 1.5625.
    """
    instance = Instance(np.zeros((1, 1), bool), ((0, 0),), (1.0,), (0.25,), (0.5,), 3)
    assert best_return(instance, num_actions) == pytest.approx(1.375, abs=1e-12)
    longer = instance._replace(max_steps=4)
    assert best_return(longer, num_actions) == pytest.approx(1.5625, abs=1e-12)


def test_a_passage_blocked_by_a_penalty_is_paid_with_nine_actions_only():
    """Cells: start, -1, +1 in a row, two steps, no respawn; mean over the three start cells.

    9 actions, from the left: crossing pays -1 + 1 = 0, staying 0; from the middle: go right, +1;
    from the right: stay, +1; mean 2/3. 18 actions, from the left: move right without collecting,
    then collect at the right: +1; mean 1.
    """
    instance = Instance(
        np.zeros((1, 3), bool), ((0, 1), (0, 2)), (-1.0, 1.0), (0.0, 0.0), (0.0, 0.0), 2
    )
    assert best_return(instance, 9) == pytest.approx(2 / 3, abs=1e-12)
    assert best_return(instance, 18) == pytest.approx(1.0, abs=1e-12)


def test_the_best_of_moves_is_the_largest_free_neighbour():
    """Around walls and edges, with an axis for an object; walls' own values never count."""
    rng = np.random.default_rng(0)
    values, wall = rng.normal(size=(4, 5, 2)), rng.random((4, 5)) < 0.3
    kept = values.copy()
    values[wall] = 100.0
    found = best_of_moves(values, wall)
    for row, column in np.argwhere(~wall):
        near = [
            kept[r, c]
            for r in range(max(row - 1, 0), min(row + 2, 4))
            for c in range(max(column - 1, 0), min(column + 2, 5))
            if not wall[r, c]
        ]
        np.testing.assert_array_equal(found[row, column], np.max(near, axis=0))
    assert (values[wall] == 100.0).all()  # who asked keeps their own


@pytest.mark.parametrize("index", [0, 1])
def test_an_absent_object_comes_back_with_its_chance_and_a_present_one_stays(index):
    values = np.random.default_rng(1).normal(size=(2, 3, 2, 2))
    found = after_respawn(values, index, 0.25)
    for there in itertools.product((0, 1), repeat=2):
        back = tuple(1 if i == index else x for i, x in enumerate(there))
        mean = 0.75 * values[:, :, *there] + 0.25 * values[:, :, *back]
        np.testing.assert_allclose(found[:, :, *there], mean, rtol=1e-12)
    np.testing.assert_array_equal(after_respawn(values, index, 0.0), values)


def test_sampled_instances_have_their_objects_on_free_cells_each_on_its_own():
    spec = SUITE["longer_horizon"].spec
    grid, rng = GRIDS["longer_horizon"], np.random.default_rng(2)
    seen = set()
    for _ in range(50):
        instance = sample_instance(spec, rng)
        assert len(set(instance.cells)) == 7
        assert all(grid.is_free(*cell) for cell in instance.cells)
        seen.update(instance.cells)
    numbers = zip(instance.reward, instance.p_terminate, instance.p_respawn, strict=True)
    assert list(numbers) == [o[:3] for o in grid.objects]
    assert instance.max_steps == grid.max_steps
    assert len(seen) == 7 * 9 - 7  # a cell is missed with probability (1 - 1/8)^50 < 0.002


def brute_force(grid: Grid, cells: list[int], num_actions: int) -> float:
    """Expectimax over every action and every joint pattern of respawns, by recursion."""
    count = len(cells)

    def value(agent, present, steps):
        if steps == 0:
            return 0.0
        return max(act(agent, present, action, steps) for action in range(num_actions))

    def act(agent, present, action, steps):
        outcome = grid_outcome(grid, agent, cells, list(present), action, num_actions)
        goes_on = 1.0 if outcome.collected < 0 else 1 - grid.objects[outcome.collected][1]
        kept = [there and i != outcome.collected for i, there in enumerate(present)]
        total = outcome.reward
        for back in itertools.product((False, True), repeat=count):
            chance = goes_on
            for i in range(count):
                p = 0.0 if present[i] else grid.objects[i][2]
                chance *= p if back[i] else 1 - p
            if chance > 0:
                after = tuple(k or b for k, b in zip(kept, back, strict=True))
                total += chance * value(outcome.agent, after, steps - 1)
        return total

    starts = [value(cell, (True,) * count, grid.max_steps) for cell in grid.free_cells()]
    return float(np.mean(starts))


@pytest.mark.parametrize("num_actions", [9, 18])
@pytest.mark.parametrize("picture", [("...",), (".#..",)])
def test_dynamic_programme_equals_exhaustive_search(num_actions, picture):
    objects = ((1.0, 0.1, 0.4, 0), (-1.0, 0.5, 0.7, 1))
    grid = Grid("tabular", objects, 3, picture)
    cells = grid.free_cells()[1:3]
    wall = np.array([[cell == "#" for cell in row] for row in picture])
    places = tuple(divmod(cell, grid.width) for cell in cells)
    numbers = [tuple(o[i] for o in objects) for i in range(3)]
    instance = Instance(wall, places, *numbers, grid.max_steps)
    want = brute_force(grid, cells, num_actions)
    assert best_return(instance, num_actions) == pytest.approx(want, abs=1e-12)
    assert want > 0.5  # not flat


def test_no_agent_beats_the_dynamic_programme_and_a_sensible_one_comes_close():
    """The greedy script in the environment itself, dense; 128 episodes, 4.5 standard errors."""
    returns = simulate("dense", greedy_policy, 128, seed=1)
    # Instances differ between the two means; their spread is in the returns' own.
    error = 4.5 * returns.std() / np.sqrt(len(returns)) * np.sqrt(1 + 128 / 32)
    best = REFERENCE_RETURNS["dense"].best
    assert 0.85 * best < returns.mean() < best + error


def test_shipped_random_returns_are_reproduced_with_another_seed():
    """Sparse pays +-1 at most once an episode: 4.5 standard errors of 2,048 and 1,024 episodes."""
    returns = simulate("sparse", uniform_policy, 2048, seed=7)
    assert set(np.unique(returns)) == {-1.0, 0.0, 1.0}
    error = 4.5 * returns.std() * np.sqrt(1 / 2048 + 1 / 1024)
    assert abs(returns.mean() - REFERENCE_RETURNS["sparse"].random) < error


@pytest.mark.parametrize("name", [*GRIDS, *CHAINS])
def test_shipped_numbers_are_sane_and_reach_the_suite(name):
    reference, row = REFERENCE_RETURNS[name], SUITE[name]
    assert (row.random_return, row.best_return) == (reference.random, reference.best)
    assert reference.best > reference.random and "placeholder" not in reference.how
    assert ("best measured" in reference.how) == (name in GRIDS and name not in TABULAR)
    if name in CHAINS:
        assert (reference.random, reference.best) == (0.0, 1.0)
    if name in ("sparse", "rand_sparse"):  # the only positive object ends the episode
        assert reference.best <= 1.0
    middle = (reference.random + reference.best) / 2
    assert normalised_return(row, middle) == pytest.approx(0.5)
    assert normalised_return(row, reference.random - 1) == 0.0
    assert normalised_return(row, reference.best + 1) == 1.0


def test_one_shipped_optimum_is_recomputed():
    """Sparse with the script's own seed: every instance is solvable in 50 steps."""
    rng = np.random.default_rng(0)
    instances = [sample_instance(SUITE["sparse"].spec, rng) for _ in range(3)]
    best = [best_return(instance, n) for instance in instances for n in (9, 18)]
    assert np.allclose(best, 1.0) and REFERENCE_RETURNS["sparse"].best == 1.0


def test_the_shipped_file_is_what_the_script_writes():
    source = render(REFERENCE_RETURNS)
    namespace: dict = {}
    exec(compile(source, "reference_returns.py", "exec"), namespace)  # noqa: S102
    rebuilt = namespace["REFERENCE_RETURNS"]
    assert {k: tuple(v) for k, v in rebuilt.items()} == {
        k: tuple(v) for k, v in REFERENCE_RETURNS.items()
    }
    assert TARGET.read_text() == source
