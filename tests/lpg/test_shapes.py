"""What a network of one's own gets wrong, and the sentence it ends in, wherever it comes in."""

import jax
import jax.numpy as jnp
import jaxtyping
import online
import optax
import pytest

import lpg
from envs.suite import make
from lpg.agent import Body
from lpg.learner import FrozenRule
from lpg.rollout import Beyond, rollout, start
from lpg.rule import off_policy_inputs
from lpg.rules.a2c import A2C
from lpg.rules.drmg import DrMG
from lpg.rules.lpg import LPG
from lpg.rules.lpg_eq7 import with_baseline
from lpg.rules.lpg_v import LPGV
from lpg.rules.ppo import PPO
from lpg.rules.stac import STAC
from lpg.rules.stacx import STACX
from lpg.update import AgentState

T, B, A, M = online.T, online.B, online.ACTIONS, 7
SMALL = LPG(hidden_size=4, prediction_size=M, embedding_size=2)
READ = {  # each rule with what it reads beside the policy, and how wide that is
    "lpg": (SMALL, "prediction", M),
    "lpg_eq7": (with_baseline(SMALL), "prediction", M),
    "lpg_v": (LPGV(hidden_size=4), "value", 1),
    "a2c": (A2C(), "value", 1),
    "ppo": (PPO(), "value", 1),
    "stac": (STAC(), "value", 1),
    "stacx": (STACX(), "value", 1),
    "drmg": (DrMG(num_quantiles=5), "value", 5),
}
GAMMA = jnp.float32(0.9)
HYPERS = lpg.Hypers(*map(jnp.float32, (0.1, 0.5, 0.9)))


@pytest.fixture(autouse=True)
def unchecked_annotations():
    """As users have it: annotations say nothing while their code runs."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def wide(array):
    return jnp.concatenate([array, array], axis=-1)


def batch_first(array):
    return jnp.swapaxes(array, 0, 1)


def unbatched(array):
    return array[:, 0]


def vectors(rule):
    """What a network puts out on a trajectory."""
    return jnp.zeros((T + 1, B, rule.heads(A).total))


def outputs_of(rule):
    return lpg.split_heads(rule.heads(A), vectors(rule))


def zeros(shapes):
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def says(function, *parts):
    """One sentence with the argument's name and the shapes seen and wanted, as they are printed."""
    with pytest.raises(ValueError) as error:
        jax.eval_shape(function)  # at trace time: nothing is compiled, nothing runs
    sentence = str(error.value)
    assert sentence.startswith(f"{parts[0]} has shape ") and sentence.endswith("."), sentence
    assert f" has shape {parts[1]}; wanted is {parts[2]}, " in sentence, sentence


def eta_of(rule):
    return jax.eval_shape(rule.init, jax.random.key(0))


def targets_of(rule, inputs):
    return lambda: jax.eval_shape(rule.targets, eta_of(rule), inputs)


@pytest.mark.parametrize("name", READ)
def test_the_right_shapes_pass(name):
    rule, _, _ = READ[name]
    outputs, data = outputs_of(rule), online.trajectory()
    targets = targets_of(rule, off_policy_inputs(outputs, data, GAMMA))()
    loss = jax.eval_shape(rule.loss, outputs, data, targets, HYPERS)
    assert loss.shape == ()


@pytest.mark.parametrize("mistake", [wide, lambda vector: vector[..., :-1]])
@pytest.mark.parametrize("name", ["lpg", "stacx"])
def test_a_vector_of_another_width(name, mistake):
    rule, _, _ = READ[name]
    total, vector = rule.heads(A).total, mistake(vectors(rule))
    assert total == {"lpg": A + M, "stacx": 3 * (A + 1)}[name]
    says(
        lambda: lpg.split_heads(rule.heads(A), vector),
        "vector",
        f"[{T + 1}, {B}, {vector.shape[-1]}]",
        f"[{T + 1}, {B}, {total}]",
    )


def test_actions_that_are_not_one_a_row_of_logits():
    logits, action = jnp.zeros((T, B, A)), jnp.zeros((T, B), int)
    for wrong, rows in ((batch_first(logits), f"[{B}, {T}]"), (unbatched(logits), f"[{T}]")):
        says(lambda w=wrong: lpg.action_log_prob(w, action), "action", f"[{T}, {B}]", rows)


@pytest.mark.parametrize("square", [False, True])
def test_rule_inputs_of_outputs_without_time_first_or_a_batch(square):
    """Square: as many environments as steps, where arithmetic would go through by broadcasting."""
    batch = T if square else B
    heads, data = SMALL.heads(A), online.trajectory()
    data = jax.tree.map(lambda x: jnp.broadcast_to(x[:, :1], (len(x), batch, *x.shape[2:])), data)
    vector = jnp.zeros((T + 1, batch, heads.total))
    cases = {batch_first: f"[{batch}, {T + 1}, {A}]", unbatched: f"[{T + 1}, {A}]"}
    for mistake, seen in cases.items():
        outputs = lpg.split_heads(heads, mistake(vector))
        wanted = f"[{T + 1}, {batch}, A]"
        says(lambda o=outputs: lpg.rule_inputs(o, data, GAMMA), "outputs.logits", seen, wanted)


def test_rule_inputs_of_trajectories_that_are_not_time_first_or_have_no_batch():
    outputs, data = outputs_of(SMALL), online.trajectory()
    turned, alone = jax.tree.map(batch_first, data), jax.tree.map(unbatched, data)
    says(
        lambda: lpg.rule_inputs(outputs, turned, GAMMA),
        "outputs.logits",
        f"[{T + 1}, {B}, {A}]",
        f"[{B + 1}, {T}, A]",
    )
    says(lambda: lpg.rule_inputs(outputs, alone, GAMMA), "trajectory.reward", f"[{T}]", "[T, B]")
    data = data._replace(final_value=jnp.zeros((T, B)))
    for field in ("action", "terminated", "truncated", "behaviour_log_prob", "final_value"):
        mixed = data._replace(**{field: unbatched(getattr(data, field))})
        says(
            lambda m=mixed: lpg.rule_inputs(outputs, m, GAMMA),
            f"trajectory.{field}",
            f"[{T}]",
            f"[{T}, {B}]",
        )


@pytest.mark.parametrize(
    ("mistake", "seen"), [(batch_first, f"[{B}, {T + 1}, 1]"), (unbatched, f"[{T + 1}, 1]")]
)
def test_off_policy_inputs_of_auxiliary_heads(mistake, seen):
    outputs = outputs_of(STACX())
    first, second = outputs.auxiliary
    wrong = outputs._replace(auxiliary=(first, second._replace(value=mistake(second.value))))
    says(
        lambda: off_policy_inputs(wrong, online.trajectory(), GAMMA),
        "outputs.value",
        seen,
        f"[{T + 1}, {B}, v]",
    )


def test_a_trajectory_without_the_bootstraps_row():
    outputs = jax.tree.map(lambda x: x[:-1], outputs_of(SMALL))
    says(
        lambda: lpg.rule_inputs(outputs, online.trajectory(), GAMMA),
        "outputs.logits",
        f"[{T}, {B}, {A}]",
        f"[{T + 1}, {B}, A]",
    )


@pytest.mark.parametrize("name", READ)
def test_targets_of_inputs_of_other_shapes(name):
    rule, read, width = READ[name]
    inputs = off_policy_inputs(outputs_of(rule), online.trajectory(), GAMMA)
    if name == "stacx":
        width = 3
    wanted = f"[{T + 1}, {B}, {width}]"
    seen = {
        wide: f"[{T + 1}, {B}, {2 * width}]",
        batch_first: f"[{B}, {T + 1}, {width}]",
        unbatched: f"[{T + 1}, {width}]",
    }
    for mistake, shape in seen.items():
        wrong = inputs._replace(**{read: mistake(getattr(inputs, read))})
        says(targets_of(rule, wrong), f"inputs.{read}", shape, wanted)
    inputs = inputs._replace(final_value=jnp.zeros((T, B)))
    for field in ("not_done", "action_prob", "final_value"):
        wrong = inputs._replace(**{field: unbatched(getattr(inputs, field))})
        says(targets_of(rule, wrong), f"inputs.{field}", f"[{T}]", f"[{T}, {B}]")
    alone = inputs._replace(reward=unbatched(inputs.reward))
    says(targets_of(rule, alone), "inputs.reward", f"[{T}]", "[T, R]")
    scalar = inputs._replace(gamma=GAMMA)
    says(targets_of(rule, scalar), "inputs.gamma", "[]", f"[{B}]")


@pytest.mark.parametrize("name", READ)
def test_losses_of_outputs_and_targets_of_other_shapes(name):
    rule, read, width = READ[name]
    outputs, data = outputs_of(rule), online.trajectory()
    inputs = off_policy_inputs(outputs, data, GAMMA)
    targets = targets_of(rule, inputs)()
    targets = zeros(targets)

    def loss(outputs=outputs, data=data, targets=targets):
        return lambda: rule.loss(outputs, data, targets, HYPERS)

    for mistake, seen in ((batch_first, f"[{B}, {T + 1}, {A}]"), (unbatched, f"[{T + 1}, {A}]")):
        wrong = jax.tree.map(mistake, outputs)
        says(loss(outputs=wrong), "outputs.logits", seen, f"[{T + 1}, {B}, A]")
    wrong = outputs._replace(**{read: wide(getattr(outputs, read))})
    other, wanted = f"[{T + 1}, {B}, {2 * width}]", f"[{T + 1}, {B}, {width}]"
    says(loss(outputs=wrong), f"outputs.{read}", other, wanted)
    first = targets[0] if name == "stacx" else targets
    field = first._fields[0]
    shape = list(getattr(first, field).shape)
    for mistake in (batch_first, unbatched):
        wrong = first._replace(**{field: mistake(getattr(first, field))})
        seen = str(list(getattr(wrong, field).shape))
        given = (wrong, *targets[1:]) if name == "stacx" else wrong
        says(loss(targets=given), f"targets.{field}", seen, str(shape))


@pytest.mark.parametrize(
    ("logits", "seen"),
    [
        (jnp.zeros((B, 3)), f"[{B}, 3]"),
        (jnp.zeros((2,)), "[2]"),
        (jnp.zeros((2, B)), f"[2, {B}]"),
        (jnp.zeros((B, 1, 2)), f"[{B}, 1, 2]"),
    ],
)
def test_policies_that_do_not_put_out_logits_of_each_environment(logits, seen):
    env, params = make("short")
    state = jax.eval_shape(lambda: start(jax.random.key(0), env, params, B))
    says(
        lambda: rollout(jax.random.key(1), env, params, lambda _: logits, zeros(state), T),
        "policy(observation)",
        seen,
        f"[{B}, 2]",
    )


def test_a_value_that_is_not_one_number_an_observation():
    env, params = make("sparse")
    state = zeros(jax.eval_shape(lambda: start(jax.random.key(0), env, params, B)))

    def policy(observation):
        return jnp.zeros((len(observation), env.num_actions))

    beyond = Beyond(lambda observation: observation[:, None])
    says(
        lambda: rollout(jax.random.key(1), env, params, policy, state, T, beyond),
        "value(observation)",
        f"[{T * B}, 1]",
        f"[{T * B}]",
    )


class OwnAgent:
    """A network of one's own behind `lpg.learner`, with a mistake in what it puts out."""

    sparse = convolutional = False

    def __init__(self, heads, mistake):
        self.heads, self.mistake = heads, mistake

    def apply(self, params, observation, condition=None):
        return self.mistake(observation @ params)


@pytest.mark.parametrize(
    ("mistake", "argument", "seen", "wanted"),
    [
        (wide, "vector", [T + 1, B, 2 * (A + M)], [T + 1, B, A + M]),
        (batch_first, "outputs.logits", [B, T + 1, A], [T + 1, B, "A"]),
        (unbatched, "outputs.logits", [T + 1, A], [T + 1, B, "A"]),
    ],
)
def test_a_learner_with_an_agent_of_ones_own(mistake, argument, seen, wanted):
    learner = FrozenRule(SMALL, zeros(eta_of(SMALL)))
    theta = jnp.zeros((online.FEATURES, A + M))
    body = Body(OwnAgent(SMALL.heads(A), mistake), jnp.ones((A,), bool))
    optimizer = optax.sgd(0.1)
    state = learner.init(jax.random.key(0), AgentState(theta, optimizer.init(theta)))
    shown = [str(shape).replace("'", "") for shape in (seen, wanted)]
    trajectories = (online.trajectory(),)
    says(lambda: learner.learn(body, optimizer, state, trajectories, HYPERS), argument, *shown)


def test_lives_side_by_side_are_told_of_one_life():
    outputs, data = outputs_of(SMALL), online.trajectory()
    stacked = jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * 2), (outputs, data))
    of_lives = jax.vmap(lambda o, t: lpg.rule_inputs(o, t, GAMMA))
    assert jax.eval_shape(of_lives, *stacked).prediction.shape == (2, T + 1, B, M)
    turned = jax.tree.map(lambda x: jnp.swapaxes(x, 1, 2), stacked[0])
    says(
        lambda: of_lives(turned, stacked[1]),
        "outputs.logits",
        f"[{B}, {T + 1}, {A}]",
        f"[{T + 1}, {B}, A]",
    )
