"""The `Agent` protocol: parameters theta and outputs on observations; and an agent in its world."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Bool, Float

from lpg.heads import AgentOutputs, Heads, mask_outputs, split_heads

AgentParams = Any  # theta
Condition = Float[Array, "c"] | None  # what the network is told besides observations
VectorLoss = Callable[[Array], Array]  # of the output vectors [*batch, heads.total], a scalar


@runtime_checkable
class Agent(Protocol):
    """Maps observations to one vector that `split_heads` cuts into what the rule asked for.

    Written for one life: training loops vmap over lives. All methods are pure; what `init` returns
    is handed back to the others, and its shapes depend on the agent's fields alone.
    """

    @property
    def heads(self) -> Heads:
        """What the output vector is cut into; `heads.total` is its width."""
        ...

    @property
    def sparse(self) -> bool:
        """Whether reading and stepping touch single rows of the parameters, as with a table."""
        ...

    @property
    def convolutional(self) -> bool:
        """Whether `apply` makes boards of activations, dear to keep for a backward pass."""
        ...

    def init(self, key: Array, num_states: Array) -> AgentParams:
        """Fresh parameters; `num_states` is the instance's own number of states, for tables."""
        ...

    def apply(self, params: AgentParams, observation: Array, condition: Condition = None) -> Array:
        """Vectors [*batch, heads.total] on observations with any leading axes; `condition` is given
        where `heads.condition` asks for it."""
        ...

    def acting(self, params: AgentParams, condition: Condition = None) -> Callable[[Array], Array]:
        """`apply` for many calls with the same parameters; not to be differentiated."""
        ...

    def read(self, params: AgentParams, observation: Array) -> tuple[Array, AgentParams]:
        """`apply`, and the parameters to go on with, whose gradient can stay sparse so."""
        ...

    def step_rows(
        self,
        params: AgentParams,
        observation: Array,
        loss: VectorLoss,
        learning_rate: Float[Array, ""],
    ) -> AgentParams:
        """Of sparse agents alone, and what others refuse: one step of plain gradient descent on
        `loss` of the vectors on `observation`."""
        ...

    def write(self, params: AgentParams, observation: Array, steps: Array) -> AgentParams:
        """Of sparse agents alone, and what others refuse: parameters whose vectors on `observation`
        are moved by `steps`; where an observation is seen twice, by both."""
        ...


def descent(vector: Array, loss: VectorLoss, learning_rate: Float[Array, ""]) -> Array:
    """The step of plain gradient descent on `loss`, of vectors that are parameters themselves."""
    return -learning_rate.astype(vector.dtype) * jax.grad(loss)(vector)


class Body(NamedTuple):
    """An agent in a world: outputs on its observations, with the world's invalid actions masked."""

    agent: Agent
    action_mask: Bool[Array, "A"]
    condition: Condition = None

    def vector(self, params: AgentParams, observation: Array) -> Array:
        """The agent's vectors, told what it is to be told."""
        if self.condition is None:
            return self.agent.apply(params, observation)
        return self.agent.apply(params, observation, self.condition)

    def outputs_of(self, vector: Array) -> AgentOutputs:
        """What the agent's vectors say in this world."""
        return mask_outputs(split_heads(self.agent.heads, vector), self.action_mask)

    def outputs(self, params: AgentParams, observation: Array) -> AgentOutputs:
        """Outputs with the leading axes of `observation`."""
        return self.outputs_of(self.vector(params, observation))

    def acting(self, params: AgentParams) -> Callable[[Array], AgentOutputs]:
        """`outputs` for many calls with the same parameters; not to be differentiated."""
        told = () if self.condition is None else (self.condition,)
        act = self.agent.acting(params, *told)
        return lambda observation: self.outputs_of(act(observation))

    def read(self, params: AgentParams, observation: Array) -> tuple[AgentOutputs, AgentParams]:
        """Outputs, and the parameters to go on with (`Agent.read`)."""
        vector, params = self.agent.read(params, observation)
        return self.outputs_of(vector), params
