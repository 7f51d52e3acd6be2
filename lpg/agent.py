"""The `Agent` protocol: parameters theta, and outputs on observations."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array

from lpg.heads import Heads

AgentParams = Any  # theta


@runtime_checkable
class Agent(Protocol):
    """`apply` takes observations with any leading axes and returns [*batch, heads.total]."""

    @property
    def heads(self) -> Heads: ...

    def init(self, key: Array, num_states: Array) -> AgentParams: ...

    def apply(self, params: AgentParams, observation: Array) -> Array: ...
