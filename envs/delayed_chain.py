"""Delayed chain MDPs: the first action decides the reward at the end (Oh et al. 2020, A.3)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array

NUM_NOISE_BITS = 20
Action = Array | int | None  # None where no action led to the state


@struct.dataclass
class DelayedChainParams(environment.EnvParams):
    """Lengths that lifetimes may have, and this lifetime's own."""

    min_length: Any = 5  # range that a lifetime's chain length is drawn from
    max_length: Any = 30
    length: Any = 30  # steps of an episode in this lifetime
    noisy: Any = False  # whether steps 2 .. L-1 pay +-1 by a fair coin
    max_steps_in_episode: Any = 30  # equals `length`: an episode is never truncated


@struct.dataclass
class DelayedChainState(environment.EnvState):
    """Where an episode is, and what decides its outcome."""

    time: Any  # i32
    correct_action: Any  # of this episode
    chose_correctly: Any  # 0 before the first action
    noise: Any  # uint32 word of random bits; read by the distractor's observation only


class DelayedChain(environment.Environment[DelayedChainState, DelayedChainParams]):
    """Two actions; observation is the state's index, 4L - 2 in all, without aliasing."""

    def __init__(
        self,
        max_length: int = 30,
        min_length: int = 5,
        noisy: bool = False,
        length: int | None = None,
    ):
        """`length`: of the default params; by default the longest."""
        super().__init__()
        self.max_length, self.min_length, self.noisy = max_length, min_length, noisy
        self.length = max_length if length is None else length

    def _identity(self) -> tuple:
        return (type(self), self.max_length, self.min_length, self.noisy, self.length)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DelayedChain) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    @property
    def name(self) -> str:
        """One for all lengths, noisy or not."""
        return "DelayedChain"

    @property
    def num_actions(self) -> int:
        """Two, of which each episode wants one at its first step."""
        return 2

    @property
    def num_states(self) -> int:
        """Rows of a table that holds every chain length."""
        return 4 * self.max_length - 2

    @property
    def default_params(self) -> DelayedChainParams:
        """Of the length that the chain was built with; `sample_params` draws others."""
        return DelayedChainParams(
            min_length=jnp.int32(self.min_length),
            max_length=jnp.int32(self.max_length),
            length=jnp.int32(self.length),
            noisy=jnp.array(self.noisy),
            max_steps_in_episode=jnp.int32(self.length),
        )

    def sample_params(self, key: Array, params: DelayedChainParams) -> DelayedChainParams:
        """One lifetime's chain length, uniform over the published range, ends included."""
        length = jax.random.randint(key, (), params.min_length, params.max_length + 1, jnp.int32)
        return dataclasses.replace(params, length=length, max_steps_in_episode=length)

    def least_limit(self, params: DelayedChainParams) -> int:
        """Steps between two time limits: there are none."""
        del params
        return np.iinfo(np.int32).max

    def action_mask(self, params: DelayedChainParams) -> Array:
        """bool [2]: both actions are valid."""
        del params
        return jnp.ones((2,), bool)

    def right_action(self, state: DelayedChainState) -> Array:
        """The action that the start of the state's episode calls for."""
        return state.correct_action

    def count_states(self, params: DelayedChainParams) -> Array:
        """4L - 2 for this lifetime's own L, where `num_states` holds the longest chain."""
        return 4 * params.length - 2

    def step_env(
        self, key: Array, state: DelayedChainState, action: Array | int, params: DelayedChainParams
    ) -> tuple[Array, DelayedChainState, Array, Array, dict[str, Array]]:
        """Only the first action counts; the last step pays +1 for the correct one, else -1."""
        return self.step_with(self.draw_step(key), state, action, params)

    def draw_step(self, key: Array) -> Array:
        """A word for the coin and a word for the distractors."""
        return jax.random.bits(key, (2,), jnp.uint32)

    def step_with(
        self,
        draws: Array,
        state: DelayedChainState,
        action: Array | int,
        params: DelayedChainParams,
    ) -> tuple[Array, DelayedChainState, Array, Array, dict[str, Array]]:
        """`step_env` on words already drawn."""
        first = state.time == 0
        chose_correctly = jnp.where(
            first, (action == state.correct_action).astype(jnp.int32), state.chose_correctly
        )
        time = state.time + 1
        terminated = time >= params.length
        outcome = jnp.where(chose_correctly == 1, jnp.float32(1), jnp.float32(-1))
        coin = jnp.where((draws[0] & 1) == 1, jnp.float32(1), jnp.float32(-1))
        # Steps are counted from 1: the first (the choice) and the last (the outcome) are not noisy.
        middle = params.noisy & (time >= 2) & ~terminated
        reward = jnp.where(terminated, outcome, jnp.where(middle, coin, 0.0))
        state = DelayedChainState(
            time=time,
            correct_action=state.correct_action,
            chose_correctly=chose_correctly,
            noise=draws[1],
        )
        observation = self.observe(None, state, action, params)
        discount = jnp.where(terminated, 0.0, 1.0)
        return observation, state, reward, terminated, {"discount": discount}

    def reset_env(self, key: Array, params: DelayedChainParams) -> tuple[Array, DelayedChainState]:
        """A new correct action, visible in the observation."""
        return self.reset_with(self.draw_reset(key), params)

    def draw_reset(self, key: Array) -> Array:
        """A word for the correct action and a word for the distractors."""
        return jax.random.bits(key, (2,), jnp.uint32)

    def reset_with(
        self, draws: Array, params: DelayedChainParams
    ) -> tuple[Array, DelayedChainState]:
        """`reset_env` on words already drawn."""
        state = DelayedChainState(
            time=jnp.int32(0),
            correct_action=(draws[0] & 1).astype(jnp.int32),
            chose_correctly=jnp.int32(0),
            noise=draws[1],
        )
        return self.observe(None, state, None, params), state

    def observe(
        self,
        key: Array | None,
        state: DelayedChainState,
        action: Action,
        params: DelayedChainParams,
    ) -> Array:
        """Index c (2L-1) + 0 at the start, + 1 + 2 (t-1) + chose_correctly afterwards."""
        del key, action
        within = jnp.where(state.time == 0, 0, 2 * state.time - 1 + state.chose_correctly)
        # The state after the last step is terminal and never acted from; kept within range.
        within = jnp.minimum(within, 2 * params.length - 2)
        return state.correct_action * (2 * params.length - 1) + within

    def is_truncated(self, state: DelayedChainState, params: DelayedChainParams) -> Array:
        """Chains end by themselves."""
        del params
        return jnp.zeros_like(state.time, bool)

    def is_terminated(self, state: DelayedChainState, params: DelayedChainParams) -> Array:
        """After L steps, whatever was done."""
        return state.time >= params.length

    def action_space(self, params: DelayedChainParams | None = None) -> spaces.Discrete:
        """Two actions, whatever the params."""
        del params
        return spaces.Discrete(2)

    def observation_space(self, params: DelayedChainParams) -> spaces.Space:
        """Indices of the longest chain's states, so that the size is static."""
        del params
        return spaces.Discrete(self.num_states)

    def state_space(self, params: DelayedChainParams) -> spaces.Dict:
        """The fields of `DelayedChainState`; as many steps as the longest chain has."""
        del params
        fields = {
            "time": spaces.Discrete(self.max_length + 1),
            "correct_action": spaces.Discrete(2),
            "chose_correctly": spaces.Discrete(2),
            "noise": spaces.Box(jnp.uint32(0), jnp.uint32(2**32 - 1), (), jnp.uint32),
        }
        return spaces.Dict(fields)


class DistractorChain(DelayedChain):
    """Observation {0,1}^22: is action 0 correct, was the choice correct, and 20 random bits."""

    @property
    def name(self) -> str:
        """Not DelayedChain's: the observations differ."""
        return "DistractorChain"

    @property
    def num_states(self) -> int:
        """Raises AttributeError, so that `getattr` falls back to its default."""
        raise AttributeError("The distractor chain's observations are bits, not state indices.")

    def observe(
        self,
        key: Array | None,
        state: DelayedChainState,
        action: Action,
        params: DelayedChainParams,
    ) -> Array:
        """u8 [22]: the two bits that matter, then the state's noise word from its lowest bit."""
        del key, action, params
        relevant = jnp.stack([1 - state.correct_action, state.chose_correctly])
        shifts = jnp.arange(NUM_NOISE_BITS, dtype=jnp.uint32)
        noise = (state.noise >> shifts) & 1
        return jnp.concatenate([relevant.astype(jnp.uint8), noise.astype(jnp.uint8)])

    def observation_space(self, params: DelayedChainParams) -> spaces.Space:
        """A box of 22 bits."""
        del params
        return spaces.Box(0, 1, (2 + NUM_NOISE_BITS,), dtype=jnp.uint8)
