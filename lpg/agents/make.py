"""An agent by its name in Table 3's notation."""

import re

from lpg.agent import Agent
from lpg.agents.network import NetworkAgent
from lpg.agents.table import TableAgent
from lpg.heads import Heads
from lpg.precision import Precision

LAYERS = "[1-9][0-9]*(?:-[1-9][0-9]*)*"  # units of one layer after the other


def make_agent(
    architecture: str,
    heads: Heads,
    *,
    num_states: int = 0,
    observation_shape: tuple[int, ...] = (),
    precision: Precision = "float32",
) -> Agent:
    """The agent that `architecture` names in Table 3's notation.

    'table', 'D(32)', 'C(16)-D(32)', 'C(32-16-16)-D(256)': C(..) convolutional filters per layer,
    D(..) dense units per layer.
    `precision` is that of boards between convolutions. Raises ValueError for any other name.
    """
    if architecture == "table":
        if num_states < 1:
            raise ValueError("A table agent needs integer observations with at least one state.")
        if heads.condition or heads.hidden or heads.auxiliary:
            raise ValueError(
                "A table has rows and nothing else: no hidden layers, further heads or conditions, "
                "which this algorithm asks for; give its agent a network, as --agent 'D(64-64)'."
            )
        return TableAgent(heads, num_states)
    match = re.fullmatch(f"(?:C\\(({LAYERS})\\)-)?D\\(({LAYERS})\\)", architecture)
    if not match:
        raise ValueError(
            f"Unknown agent {architecture!r}; write 'table', 'D(32)' or 'C(16)-D(32)'."
        )
    conv, dense = (
        tuple(int(n) for n in part.split("-")) if part else () for part in match.groups()
    )
    return NetworkAgent(heads, observation_shape, conv, dense, precision)
