"""How much a probe measures, and at which settings."""

from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from envs.suite import SUITE
from lpg.runs.seed import refuse_seed

Arm = tuple[float, float]  # alpha, alpha_y

HORIZON = 20  # T: a trajectory cannot show a longer chain's choice and its reward together
GAMMA = 0.995  # Oh et al. 2020, Table 2
HEADLINE_ARM = (40.0, 0.5)  # of tables
NETWORK_ARM = (1e-3, 0.5)  # of D(64-64) under Adam
CHUNKS = 10  # of a life, which is one program run ten times; the last is its late tenth

INTACT, Y_CUT = "intact", "y_cut"  # variants of a rule


class Group(NamedTuple):
    """Lives that differ by nothing but chance."""

    variant: str
    learning_rate: float
    prediction_cost: float
    lives: int


@dataclass(frozen=True)
class ProbeProtocol:
    """T, gamma and the headlines' arms are not open to choice."""

    lives: int = 64  # on `long` at HEADLINE_ARM, and at the same alpha with alpha_y = 0
    updates: int = 400  # of a life on `long`
    num_envs: int = 16
    arms: tuple[Arm, ...] = tuple(
        product(SUITE["long"].learning_rates, SUITE["long"].prediction_costs)
    )
    arm_lives: int = 24  # on `long` at every other arm
    sparse_lives: int = 32
    sparse_updates: int = 400
    reward_free_lives: int = 16
    reward_free_updates: int = 300
    seed: int = 0

    def __post_init__(self) -> None:
        refuse_seed(self.seed)
        for name in ("lives", "arm_lives"):
            if (count := getattr(self, name)) < 2:
                raise ValueError(f"{name} must be at least 2 (short and long), got {count}.")
        for name in ("sparse_lives", "reward_free_lives"):
            if (count := getattr(self, name)) < 1:
                raise ValueError(f"{name} must be at least 1, got {count}.")
        for name in ("updates", "sparse_updates", "reward_free_updates"):
            if (count := getattr(self, name)) < 1 or count % CHUNKS:
                raise ValueError(f"{name} must be a positive multiple of {CHUNKS}, got {count}.")

    def chain_groups(self, has_predictions: bool) -> list[Group]:
        """Variants by arms, and the rule intact at HEADLINE_ARM but for alpha_y = 0."""
        sizes = {arm: self.arm_lives for arm in self.arms} | {HEADLINE_ARM: self.lives}
        groups = [
            Group(variant, *arm, lives)
            for variant in _variants(has_predictions)
            for arm, lives in sizes.items()
        ]
        return [*groups, Group(INTACT, HEADLINE_ARM[0], 0.0, self.lives)]

    def sparse_groups(self, has_predictions: bool) -> list[Group]:
        """The rule's variants, all at HEADLINE_ARM."""
        return [Group(v, *HEADLINE_ARM, self.sparse_lives) for v in _variants(has_predictions)]

    def total_updates(self, has_predictions: bool) -> int:
        """Updates of all lives together."""
        return (
            sum(group.lives for group in self.chain_groups(has_predictions)) * self.updates
            + sum(group.lives for group in self.sparse_groups(has_predictions))
            * self.sparse_updates
            + 2 * self.reward_free_lives * self.reward_free_updates
        )


def _variants(has_predictions: bool) -> tuple[str, ...]:
    return (INTACT, Y_CUT) if has_predictions else (INTACT,)


FULL = ProbeProtocol()
# The headlines' chains as ever; less of everything else.
QUICK = ProbeProtocol(
    arms=((20.0, 1.0), (40.0, 0.1), (40.0, 0.5), (80.0, 0.1)),
    arm_lives=8,
    sparse_lives=8,
    sparse_updates=200,
    reward_free_lives=8,
)
