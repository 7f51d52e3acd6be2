"""Random tabular MDPs whose values are known exactly, for studies of estimators.

Source: Liu et al. 2022, appendix I.1 and Table 2.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array, Float, Int

Action = Array | int | None  # None where no action led to the state
CONCENTRATION = 0.001  # of the Dirichlet; transitions are nearly deterministic


class MDP(NamedTuple):
    """Transitions and rewards; every episode starts in state 0 and none ends."""

    transition: Float[Array, "S A S"]  # P(s' | s, a)
    reward: Float[Array, "S A"]  # of taking a in s, always the same


def sample_mdp(
    key: Array, num_states: int = 20, num_actions: int = 5, concentration: float = CONCENTRATION
) -> MDP:
    """Transitions from a symmetric Dirichlet, rewards uniform in [0, 1)."""
    key_transition, key_reward = jax.random.split(key)
    # In logarithms: gammas of such a small shape are all 0 as they are, and their shares not.
    shape = (num_states, num_actions, num_states)
    log_gamma = jax.random.loggamma(key_transition, concentration, shape)
    reward = jax.random.uniform(key_reward, (num_states, num_actions))
    return MDP(jax.nn.softmax(log_gamma), reward)


def state_values(
    mdp: MDP, policy: Float[Array, "S A"], gamma: float | Float[Array, ""]
) -> Float[Array, "S"]:
    """V(s) of acting by `policy` forever: the solution of V = r_pi + gamma P_pi V.

    Exact up to rounding and differentiable in all; in float64 where its arguments are.
    """
    reward = jnp.sum(policy * mdp.reward, axis=-1)
    step = jnp.einsum("sa,sat->st", policy, mdp.transition)
    return jnp.linalg.solve(jnp.eye(len(reward)) - gamma * step, reward)


@struct.dataclass
class TabularMDPParams(environment.EnvParams):
    """One MDP."""

    transition: Any = None  # [S, A, S]
    reward: Any = None  # [S, A]
    max_steps_in_episode: Any = np.iinfo(np.int32).max


@struct.dataclass
class TabularMDPState(environment.EnvState):
    """Where an episode is."""

    time: Any  # i32
    state: Any  # i32, the observation


class TabularMDP(environment.Environment[TabularMDPState, TabularMDPParams]):
    """Observation is the state's index. Default params are one random MDP, always the same;
    `sample_params` draws others."""

    def __init__(
        self, num_states: int = 20, num_actions: int = 5, concentration: float = CONCENTRATION
    ):
        super().__init__()
        self._sizes = (num_states, num_actions, concentration)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TabularMDP) and self._sizes == other._sizes

    def __hash__(self) -> int:
        return hash((type(self), self._sizes))

    @property
    def name(self) -> str:
        """One for all sizes."""
        return "TabularMDP"

    @property
    def num_states(self) -> int:
        """Rows of a table."""
        return self._sizes[0]

    @property
    def num_actions(self) -> int:
        """As built."""
        return self._sizes[1]

    @property
    def default_params(self) -> TabularMDPParams:
        """The MDP of key 0."""
        return self.sample_params(jax.random.key(0), TabularMDPParams())

    def sample_params(self, key: Array, params: TabularMDPParams) -> TabularMDPParams:
        """Another MDP of the same sizes."""
        mdp = sample_mdp(key, *self._sizes)
        return dataclasses.replace(params, transition=mdp.transition, reward=mdp.reward)

    def step_env(
        self, key: Array, state: TabularMDPState, action: Array | int, params: TabularMDPParams
    ) -> tuple[Array, TabularMDPState, Array, Array, dict[str, Array]]:
        """The next state by its probability; no step ends an episode."""
        return self.step_with(self.draw_step(key), state, action, params)

    def draw_step(self, key: Array) -> Array:
        """A uniform, for the next state."""
        return jax.random.uniform(key, (), jnp.float32)

    def step_with(
        self, draws: Array, state: TabularMDPState, action: Array | int, params: TabularMDPParams
    ) -> tuple[Array, TabularMDPState, Array, Array, dict[str, Array]]:
        """`step_env` on a uniform already drawn."""
        reward = params.reward[state.state, action]
        following = drawn(running_sums(params.transition[state.state, action]), draws)
        state = TabularMDPState(time=state.time + 1, state=following)
        ended = jnp.zeros_like(following, bool)
        return self.observe(state), state, reward, ended, {"discount": jnp.ones_like(reward)}

    def reset_env(self, key: Array, params: TabularMDPParams) -> tuple[Array, TabularMDPState]:
        """State 0."""
        return self.reset_with(self.draw_reset(key), params)

    def draw_reset(self, key: Array) -> Array:
        """Nothing: the start is fixed."""
        del key
        return jnp.zeros(())

    def reset_with(self, draws: Array, params: TabularMDPParams) -> tuple[Array, TabularMDPState]:
        """`reset_env`, which draws nothing."""
        del draws, params
        state = TabularMDPState(time=jnp.int32(0), state=jnp.int32(0))
        return self.observe(state), state

    def observe(self, state: TabularMDPState) -> Array:
        """i32 index."""
        return state.state

    def is_terminated(self, state: TabularMDPState, params: TabularMDPParams) -> Array:
        """Never."""
        del params
        return jnp.zeros_like(state.time, bool)

    def is_truncated(self, state: TabularMDPState, params: TabularMDPParams) -> Array:
        """At the params' limit, which by default no run reaches."""
        return state.time >= params.max_steps_in_episode

    def action_space(self, params: TabularMDPParams | None = None) -> spaces.Discrete:
        """All actions in all states."""
        del params
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: TabularMDPParams) -> spaces.Discrete:
        """The states."""
        del params
        return spaces.Discrete(self.num_states)

    def state_space(self, params: TabularMDPParams) -> spaces.Dict:
        """The fields of `TabularMDPState`."""
        del params
        steps = spaces.Discrete(np.iinfo(np.int32).max)
        return spaces.Dict({"time": steps, "state": spaces.Discrete(self.num_states)})


def running_sums(probability: Float[Array, "*b n"]) -> Float[Array, "*b n"]:
    """f32, the last 1 whatever rounding did: what `drawn` takes."""
    total = jnp.cumsum(probability, axis=-1)
    return (total / total[..., -1:]).astype(jnp.float32)


def drawn(sums: Float[Array, "*b n"], uniform: Float[Array, "*b"]) -> Int[Array, "*b"]:
    """Inverse-CDF samples."""
    return jnp.sum(sums <= uniform[..., None], axis=-1, dtype=jnp.int32)
