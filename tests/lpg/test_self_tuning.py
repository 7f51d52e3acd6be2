"""Meta-gradients beside central differences, and what each way of pairing data does."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from online import ACTIONS, body_of, hypers, meta_gradient, newborn, trajectory

from lpg.agent import Body
from lpg.agents.table import TableAgent
from lpg.heads import action_log_prob
from lpg.learner import FrozenRule, Learner
from lpg.optimizers import SGD, impala_optimizer
from lpg.rule import off_policy_inputs
from lpg.rules.drmg import DrMG
from lpg.rules.stac import ALL, STAC, Metaparameters, mgrl
from lpg.rules.stacx import STACX
from lpg.self_tuning import SelfTuning
from lpg.update import AgentState, agent_step

RULES = {
    "stac": STAC(start=0.8, start_gamma=0.7),
    "stac, split alpha and clip": STAC(live=(*ALL, "alpha_c", "clip"), start=0.8),
    "mgrl": mgrl(),
    "stacx": STACX(hidden=(4,), start=0.7),
    "drmg": DrMG(num_quantiles=3, start=0.7, kappa=0.4),
    "drmg, v-trace's advantage": DrMG(
        num_quantiles=2, start=0.7, vtrace_advantage=True, kl_cost=1.0
    ),
    "drmg, n-step": DrMG(num_quantiles=2, num_steps=2, live=("gamma", "quantile_cost")),
    "drmg, shared": DrMG(num_quantiles=3, shared=True, start=0.7),
}
PLAIN = optax.sgd(1.0)


def tuner(rule, **more):
    return SelfTuning(rule, meta_optimizer=PLAIN, **more)


def frozen_outer_loss(learner, outer, agent, before):
    """Of theta', a loss whose targets are those of the `agent` given, whoever theta' is."""
    rule = learner.rule
    told = body_of(learner)._replace(condition=learner._told(rule.reference))
    at = told.outputs(agent.params, outer.observation)
    inputs = off_policy_inputs(at, outer, hypers().gamma)

    def loss(params):
        outputs = told.outputs(params, outer.observation)
        return rule.outer_loss(before, outputs, outer, inputs, hypers())

    return loss


@pytest.mark.parametrize("name", RULES)
def test_meta_gradients_equal_central_differences(name):
    """Of eta alone: what is constant in the meta-gradient is held in the differences."""
    with jax.enable_x64(True):
        learner = tuner(RULES[name])
        optimizer = impala_optimizer(100)
        inner, outer = trajectory(1, jnp.float64), trajectory(2, jnp.float64)
        state = newborn(learner, optimizer, jnp.float64)
        given = hypers(dtype=jnp.float64)
        got, after = meta_gradient(learner, optimizer, state, inner, outer, given)
        told = body_of(learner)._replace(condition=learner._told(learner.rule.reference))
        outputs = told.outputs(state.agent.params, outer.observation)
        before = jax.nn.log_softmax(outputs.logits[:-1])
        loss = frozen_outer_loss(learner, outer, after, before)

        @jax.jit
        def at(raw):
            # An embedded eta moves theta' by what the network is told as well: that way no
            # gradient goes, so it is held.
            state_at = state._replace(own=state.own._replace(raw=raw))
            return loss(meta_gradient(held, optimizer, state_at, inner, outer, given)[1].params)

        held = learner
        if learner.rule.embedded:
            fixed = learner.condition(state)
            held = Told(learner.rule, meta_optimizer=PLAIN, fixed=fixed)
        step = 1e-5
        for field, values in state.own.raw.items():
            for i in np.ndindex(values.shape):
                up, down = (
                    {**state.own.raw, field: values.at[i].add(sign * step)} for sign in (1, -1)
                )
                expected = (at(up) - at(down)) / (2 * step)
                assert abs(expected) > 1e-7, (field, i)  # nothing vanishes here
                np.testing.assert_allclose(got[field][i], expected, rtol=1e-6, err_msg=field)


class Told(SelfTuning):
    """Tells the agent the same whatever eta is."""

    def __init__(self, rule, meta_optimizer, fixed):
        super().__init__(rule, meta_optimizer=meta_optimizer)
        object.__setattr__(self, "fixed", fixed)

    def _told(self, eta):
        return super()._told(eta) if eta is self.rule.reference else self.fixed


@pytest.mark.parametrize("name", RULES)
def test_one_program_is_for_newborns_and_all_others(name):
    """Types are what an update leaves, weakness included: whoever compiles `learn` does so once."""
    learner = SelfTuning(RULES[name])
    state, body, optimizer = newborn(learner, PLAIN), body_of(learner), PLAIN
    learn = partial(learner.learn, body, optimizer)
    after = jax.eval_shape(learn, state, (trajectory(), trajectory(1)), hypers())
    for x, y in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        assert (x.shape, x.dtype, x.weak_type) == (y.shape, y.dtype, y.weak_type)
        assert not x.weak_type


@pytest.mark.parametrize("lag", [0, 1])
def test_alpha_has_no_gradient_on_data_of_ones_own(lag):
    learner = tuner(STAC(start=0.8), pairs="same", lag=lag)
    state = newborn(learner, SGD)
    data = trajectory(1)
    outputs = body_of(learner).outputs(state.agent.params, data.observation)
    own = off_policy_inputs(outputs, data, hypers().gamma).log_ratio[..., 0]
    almost = data.behaviour_log_prob + own + (1e-7 if lag == 0 else -0.3)
    data = data._replace(behaviour_log_prob=almost)
    after = learner.learn(body_of(learner), SGD, state, [data], hypers())
    moved = {name: float(jnp.abs(state.own.raw[name] - x)) for name, x in after.own.raw.items()}
    assert (moved["alpha"] == 0.0) == (lag == 0)
    assert all(x > 0 for name, x in moved.items() if name != "alpha")


@pytest.mark.parametrize("pairs", ["swap", "following", "same"])
def test_without_an_inner_step_nothing_moves(pairs):
    learner = tuner(STAC(start=0.8), pairs=pairs)
    assert isinstance(learner, Learner)
    state = newborn(learner, impala_optimizer(9))
    data = [trajectory(i) for i in range(learner.num_trajectories)]
    after = learner.learn(body_of(learner), impala_optimizer(9), state, data, hypers(0.0))
    for old, new in zip(
        *map(jax.tree.leaves, (state.agent.params, after.agent.params)), strict=True
    ):
        np.testing.assert_array_equal(old, new)
    for old, new in zip(*map(jax.tree.leaves, (state.own.raw, after.own.raw)), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("pairs", "inner"), [("swap", (0, 1)), ("following", (0,)), ("same", (0,))]
)
def test_each_way_of_pairing_trains_theta_on_its_inner_data_once(pairs, inner):
    """With eta held, theta moves as the frozen rule moves it, trajectory after trajectory."""
    rule = STAC(start=0.8, hidden=(3,))
    learner = SelfTuning(rule, pairs, optax.sgd(0.0), lag=1)
    optimizer = impala_optimizer(9)
    state = newborn(learner, optimizer)
    eta = learner.metaparameters(state.own.raw)
    data = [trajectory(i) for i in range(learner.num_trajectories)]
    after = learner.learn(body_of(learner), optimizer, state, data, hypers())
    frozen, expected = FrozenRule(rule, eta), state._replace(own=())
    for i in inner:
        expected = frozen.learn(body_of(learner), optimizer, expected, [data[i]], hypers())
    for x, y in zip(*map(jax.tree.leaves, (after.agent, expected.agent)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def test_only_so_many_rows_of_the_outer_trajectory_count():
    learner = tuner(STAC(start=0.8), outer_rows=2)
    state, inner, outer = newborn(learner, SGD), trajectory(1), trajectory(2)
    changed = outer._replace(reward=outer.reward.at[:, 2:].add(1.0))
    first, second, whole = (
        meta_gradient(x, SGD, state, inner, data, hypers())[0]["gamma"]
        for x, data in ((learner, outer), (learner, changed), (tuner(STAC(start=0.8)), outer))
    )
    assert first == second and first != whole


def test_what_an_embedding_says_carries_no_gradient():
    """On data of one's own alpha matters only through what the network is told of it."""
    learner = tuner(STAC(live=("alpha",), start=0.8, embedded=True))
    state = newborn(learner, SGD)
    gradient, after = meta_gradient(
        learner, SGD, state, trajectory(1), trajectory(2), hypers(), own_data=True
    )
    assert gradient["alpha"] == 0.0
    weights = zip(
        *(jax.tree.leaves(x.params["condition"]) for x in (state.agent, after)), strict=True
    )
    assert all(not np.array_equal(a, b) for a, b in weights)  # W learns by the inner loss


def test_a_linear_critics_step_moves_with_gamma_as_its_targets_do():
    """Tables: d theta' / d gamma = 2 g_v lr sum over visits of d v_t / d gamma."""
    rule = STAC(live=("gamma",), reference=Metaparameters(policy_cost=0.0, entropy_cost=0.0))
    learner = tuner(rule, pairs="same")
    body = Body(TableAgent(rule.heads(ACTIONS), 4), jnp.ones((ACTIONS,), bool))
    table = jnp.asarray(np.random.default_rng(0).normal(size=(4, ACTIONS + 1)), jnp.float32)
    data = trajectory(3)
    cells = np.random.default_rng(1).integers(0, 4, data.observation.shape[:2])
    data = data._replace(observation=jnp.asarray(cells, jnp.int32))

    def stepped(gamma):
        eta = rule.reference._replace(gamma=gamma)
        agent = AgentState(table, ())
        inputs = off_policy_inputs(body.outputs(table, data.observation), data, gamma)
        targets = rule.targets(eta, inputs)
        return agent_step(rule, body, SGD, agent, data, targets, hypers(0.5)).params[:, -1]

    def value_targets(gamma):
        inputs = off_policy_inputs(body.outputs(table, data.observation), data, gamma)
        return rule.targets(rule.reference._replace(gamma=gamma), inputs).value_target

    got, slopes = jax.jacfwd(stepped)(0.9), np.asarray(jax.jacfwd(value_targets)(0.9))
    expected = np.zeros(4)
    np.add.at(expected, cells[:-1], 2 * 0.25 * 0.5 * slopes)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert learner.num_trajectories == 1


def test_metaparameters_stay_within_their_bounds_whatever_raw_is():
    for rule in RULES.values():
        learner = SelfTuning(rule)
        state = newborn(learner, SGD)
        for name, start in learner.trace(state).items():
            wanted = jnp.broadcast_to(getattr(rule.initial, name), start.shape)
            np.testing.assert_allclose(start, wanted, rtol=1e-4)
        raw = jax.tree.map(lambda x: x + 3.0, state.own.raw)
        moved = learner.trace(state._replace(own=state.own._replace(raw=raw)))
        for name, x in moved.items():
            assert (x > 0).all() and (x <= getattr(rule.upper, name)).all(), name


def updated(rule, **more):
    """theta' and the meta-gradient of one update."""
    learner = tuner(rule, **more)
    state = newborn(learner, impala_optimizer(9))
    step = partial(meta_gradient, learner, impala_optimizer(9), state)
    return step(trajectory(1), trajectory(2), hypers())


def assert_alike(first, second):
    for x, y in zip(*map(jax.tree.leaves, (first, second)), strict=True):
        np.testing.assert_allclose(np.ravel(x), np.ravel(y), rtol=1e-5, atol=1e-6)


def test_stacx_of_one_head_is_stac_of_that_head():
    assert_alike(
        updated(STACX(num_heads=1, hidden=(4,), start=0.8)), updated(STAC(hidden=(4,), start=0.8))
    )


def test_mgrl_is_stac_with_two_live_and_the_policys_outer_loss():
    rule = STAC(live=("gamma", "lam"))
    policy = rule.outer._replace(value=0.0, entropy=0.0, kl=0.0)
    assert_alike(updated(mgrl(embedded=False)), updated(STAC(live=("gamma", "lam"), outer=policy)))


def test_drmg_of_one_quantile_without_a_bend_is_stac():
    """Their outer losses are alike once STAC's has no KL."""
    live = ("gamma", "lam")
    quantile = DrMG(live=live, num_quantiles=1, kappa=1e3, vtrace_advantage=True)
    assert_alike(updated(quantile), updated(STAC(live=live, outer=STAC().outer._replace(kl=0.0))))


class ByRatio(STAC):
    """log pi as exp(log pi - sg(log pi)): the same number's gradient, other second derivatives."""

    def loss(self, outputs, trajectory, targets, hypers):
        plain = super().loss(outputs, trajectory, targets, hypers)
        log_prob = action_log_prob(outputs.logits[:-1], trajectory.action)
        ratio = jnp.exp(log_prob - jax.lax.stop_gradient(log_prob))
        weight = targets.policy_cost * targets.advantage
        return plain + jnp.sum(weight * (log_prob - ratio))


@pytest.mark.parametrize("rule", [pytest.param(STAC(start=0.8), marks=pytest.mark.slow), mgrl()])
def test_one_step_sees_the_policys_first_derivative_alone(rule):
    """eta reaches the policy through constants, so pi's second derivatives have no say."""
    other = ByRatio(**vars(rule))
    inner, outer = trajectory(1), trajectory(2)
    found = []
    for tuned in (rule, other):
        learner = tuner(tuned)
        state = newborn(learner, impala_optimizer(9))
        found.append(meta_gradient(learner, impala_optimizer(9), state, inner, outer, hypers())[0])
    for name, expected in found[0].items():
        assert abs(expected) > 1e-6
        np.testing.assert_allclose(found[1][name], expected, rtol=1e-4, err_msg=name)
