"""Does a rule bootstrap, and what does it do where nothing is earned? Measured on fresh agents.

A trajectory has T = 20 steps. On a longer chain no trajectory shows the choice and its reward
together: only predictions can carry the reward back. A rule that bootstraps solves such chains, and
no longer does when what it reads of y is cut.
"""

import jax

from lpg.learner import FrozenRule
from metatest.probe.lives import (
    OnProgress,
    live_on_chains,
    live_on_sparse,
    live_without_reward,
)
from metatest.probe.protocol import HEADLINE_ARM, NETWORK_ARM, ProbeProtocol
from metatest.probe.results import Probe
from metatest.probe.targets import drift, no_evidence, responses


def probe(
    probed: FrozenRule, protocol: ProbeProtocol, on_progress: OnProgress = lambda updates: None
) -> Probe:
    """All measurements of one rule; progress adds up to `protocol.total_updates`."""
    keys = jax.random.split(jax.random.key(protocol.seed), 5)
    key_chains, key_sparse, key_table, key_network, key_rows = keys
    return Probe(
        chains=live_on_chains(probed, protocol, key_chains, on_progress),
        sparse=live_on_sparse(probed, protocol, key_sparse, on_progress),
        table=live_without_reward(probed, "long", HEADLINE_ARM, protocol, key_table, on_progress),
        network=live_without_reward(
            probed, "CartPole-v1", NETWORK_ARM, protocol, key_network, on_progress
        ),
        drift=drift(probed),
        no_evidence=no_evidence(probed, key_rows),
        responses=responses(probed),
    )
