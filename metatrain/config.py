"""What meta-training can be told: one frozen config."""

import json
from dataclasses import asdict, dataclass, field
from functools import partial
from math import isfinite
from typing import Annotated, Any

import tyro

from envs.suite import SUITE, SuiteRow, cohorts
from lpg.rules.lpg import LPG
from lpg.rules.registry import LearnedRule
from lpg.runs.seed import refuse_seed

ALL_ENVIRONMENTS = tuple(SUITE)
CENTRED = partial(LPG, prediction_input="centred")  # LPG as it is meta-trained
TABULAR_ENVIRONMENTS = tuple(n for n, row in SUITE.items() if row.agent == "table")

_COUNTS = ("num_envs", "num_steps", "num_updates", "meta_steps", "max_skipped", "unearned_rows")
_COUNTS += ("validate_every", "validation_seeds", "validation_updates")
_COUNTS += ("lifetimes_per_chunk", "longest_lifetime")
_POSITIVE = ("meta_learning_rate", "meta_adam_epsilon", "max_grad_norm", "max_share")
_POSITIVE += ("bandit_temperature", "lifetime_scale", "critic_learning_rate", "critic_table_step")


@dataclass(frozen=True)
class MetaTrainConfig:
    """Meta-training; defaults are the published values (Oh et al. 2020, Tables 2 and 3), but for
    what is marked as ours, without which rules do not find predictions (docs/experiments.md)."""

    envs: tuple[str, ...] = ALL_ENVIRONMENTS
    """Training environments: of the fifteen in appendix A by name, gymnax's by id, your own as
    package.module:Class."""
    rows: Annotated[tuple[SuiteRow, ...], tyro.conf.Fixed, tyro.conf.Suppress] = ()
    """Agent, optimiser, arms and lifetime of those that are not of the fifteen."""
    lifetimes: int = 960
    """Parallel lifetimes in all (Table 2: 960)."""
    shares: tuple[int, ...] = ()
    """How many of them each environment gets, in proportion and in the order of `envs`; evenly
    where none are given, as published. Environments of one cohort have equal shares."""
    num_envs: int = 64
    """Parallel environments per lifetime (Table 2: 64)."""
    num_steps: int = 20
    """T, steps of a trajectory (Table 2: 20)."""
    num_updates: int = 5
    """K, agent updates that the meta-gradient flows through (Table 2: 5)."""
    meta_steps: int = 1_627
    """Updates of eta in all; 1,627 of the published size are 10^10 interactions (B.1)."""
    meta_learning_rate: float = 1e-4
    """Adam's learning rate for eta (Table 2: 1e-4, of 5e-4, 1e-4 and 3e-5 that were tried)."""
    meta_adam_epsilon: float = 1e-8
    """Adam's epsilon for eta (the paper is silent)."""
    max_grad_norm: float = 0.05
    """Global norm to which the averaged meta-gradient is clipped (the paper is silent)."""
    gammas: tuple[float, ...] = (0.995, 0.99)
    """Discount factors, drawn uniformly per lifetime (Table 2)."""
    policy_entropy_costs: tuple[float, ...] = (0.01, 0.02)
    """beta_0, drawn uniformly per lifetime (Table 2)."""
    prediction_entropy_cost: float = 1e-5
    """beta_1 (Table 2: 1e-3, which drowns the return's gradient of the y_hat head)."""
    pi_hat_cost: float = 1e-3
    """beta_2, L2 on pi_hat (Table 2)."""
    y_hat_cost: float = 1e-5
    """beta_3, L2 on y_hat (Table 2: 1e-3, as beta_1)."""
    unearned_cost: float = 0.03
    """Weight of pi_hat^2 in rows without evidence (ours; metatrain/evidence.py)."""
    reward_free_share: float = 0.1
    """Share of each environment's lifetimes in which nothing is earned: rewards are zero, and so is
    the outer advantage; what is left is the entropy bonus and `unearned_cost` on all of their rows
    (ours; metatrain/evidence.py)."""
    reward_free_entropy_cost: float = 3.0
    """beta_0 of lives in which nothing is earned: loud enough to be heard beside advantages of
    order one (ours)."""
    reward_offsets: tuple[float, ...] = ()
    """Constants, one of which, drawn uniformly per lifetime, is added to each of its rewards, so
    that it pays to go on, or to come to an end; returns are counted without it (ours; none by
    default, as published)."""
    unearned_rows: int = 1
    """Environments of each lifetime whose rows are read once more without their evidence."""
    max_share: float | None = 5.0
    """Bound of one lifetime's share of the meta-gradient, update by update, in typical norms of its
    cohort (ours; metatrain/shares.py); None bounds nothing."""
    bandit_temperature: float = 0.1
    """tau of Eq. 6 (Table 2)."""
    bandit_exploration: float = 0.2
    """rho of Eq. 6 (Table 2)."""
    lifetime_scale: float = 1.0
    """Multiplies Table 3's lifetimes; 0.1 lets small runs see whole lives."""
    longest_lifetime: int | None = None
    """Windows that a life lasts at most, so that short runs see whole lives of networks too."""
    gae_lambda: float = 0.95
    """lambda of the outer advantage (the paper is silent)."""
    critic_learning_rate: float = 1e-3
    """Adam's learning rate of the outer critic where it is a network (the paper is silent)."""
    critic_table_step: float = 0.3
    """Step of the outer critic's per-state mean TD error where it is a table (likewise)."""
    advantage_decay: float = 0.99
    """Decay of the running mean and deviation that normalise the outer advantage per lifetime."""
    min_policy_entropy: float = 1e-4
    """Nats of mean policy entropy below which a lifetime is reset as deterministic (B.1)."""
    average_decay: float = 0.98
    """Decay of the running mean of eta, which is what is validated and exported (ours)."""
    validate_every: int = 200
    """Meta-steps between validations of the mean by fresh lives (ours; metatrain/validation.py)."""
    validation_seeds: int = 4
    """Worlds of each environment in which every arm lives a validation life."""
    validation_updates: int = 400
    """Agent updates of a validation life."""
    max_skipped: int = 20
    """Non-finite meta-gradients in a row after which training stops with an error."""
    remat: bool | None = None
    """Recompute each agent update in the backward pass instead of keeping what it made; by default
    wherever that is faster or saves much memory: not for tables and dense layers on a CPU."""
    lifetimes_per_chunk: int | None = None
    """Lifetimes of a device whose gradients are computed at once; by default all, or as many as its
    memory holds; of tables on a CPU, as many as its caches like. The sum over chunks is the same
    gradient."""
    rule: LearnedRule = field(default_factory=CENTRED)
    """Architecture of the rule (section 3.1, B.1)."""
    init_rule: str | None = None
    """Where eta starts: a shipped rule, a .safetensors file, or a run directory, whose Adam is
    taken as well; fresh where absent."""
    seed: int = 0
    """Of every random draw of the run."""

    def __post_init__(self) -> None:
        for name in self.envs:
            self.row(name)
        if not self.envs or len(set(self.envs)) != len(self.envs):
            raise ValueError(f"envs must name each environment once, got {self.envs}.")
        self._refuse_uneven()
        for name in _COUNTS:
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in _POSITIVE:
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}.")
        if self.unearned_rows > self.num_envs:
            raise ValueError(
                f"unearned_rows must be at most the {self.num_envs} environments of a lifetime, "
                f"got {self.unearned_rows}."
            )
        if not 0 <= self.reward_free_share < 1:
            raise ValueError(f"reward_free_share must lie in [0, 1), got {self.reward_free_share}.")
        for name in ("average_decay", "advantage_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}.")
        if not 0 <= self.gae_lambda <= 1:
            raise ValueError(f"gae_lambda must lie in [0, 1], got {self.gae_lambda}.")
        if not self.gammas or not all(0 <= g < 1 for g in self.gammas):
            raise ValueError(f"gammas must lie in [0, 1), got {self.gammas}.")
        refuse_seed(self.seed)
        if not all(map(isfinite, self.reward_offsets)):
            raise ValueError(f"reward_offsets must be finite, got {self.reward_offsets}.")
        if not self.policy_entropy_costs:
            raise ValueError("policy_entropy_costs must name at least one value.")

    def _refuse_uneven(self) -> None:
        """Lifetimes that the environments, or shares that a cohort's, cannot have."""
        if self.shares and (len(self.shares) != len(self.envs) or min(self.shares) < 1):
            raise ValueError(
                f"shares must give each of the {len(self.envs)} environments a positive whole "
                f"number, got {self.shares}."
            )
        parts = sum(self.shares) or len(self.envs)
        if self.lifetimes < 1 or self.lifetimes % parts:
            what = f"sum of shares, {parts}" if self.shares else f"{parts} environments"
            raise ValueError(
                f"lifetimes must be a positive multiple of the {what}, got {self.lifetimes}; try "
                f"{max(1, self.lifetimes // parts) * parts}."
            )
        for rows in self.cohorts:
            if len({self.lifetimes_of(row.name) for row in rows}) > 1:
                raise ValueError(
                    f"{', '.join(row.name for row in rows)} are one cohort and must have equal "
                    f"shares, got {self.shares}."
                )

    def row(self, name: str) -> SuiteRow:
        """Of an environment; ValueError for one that is neither of the suite nor in `rows`."""
        own = {row.name: row for row in self.rows}
        if name in own:
            return own[name]
        if name in SUITE:
            return SUITE[name]
        raise ValueError(
            f"Unknown environment {name!r}; known are {', '.join(SUITE)}, and others by their "
            "`rows` (metatrain.environments.own_rows)."
        )

    @property
    def cohorts(self) -> tuple[tuple[SuiteRow, ...], ...]:
        """Rows of environments that share shapes, agent and arms."""
        return cohorts([self.row(name) for name in self.envs])

    def lifetimes_of(self, name: str) -> int:
        """Parallel lifetimes in one environment."""
        if not self.shares:
            return self.lifetimes // len(self.envs)
        return self.lifetimes * self.shares[self.envs.index(name)] // sum(self.shares)

    def reward_free_of(self, name: str) -> int:
        """Of these, those in which nothing is earned; some are left that earn."""
        lifetimes = self.lifetimes_of(name)
        return min(round(self.reward_free_share * lifetimes), lifetimes - 1)

    @property
    def penalty_costs(self) -> dict[str, float]:
        """Weights of what a rule's targets are charged for; `unearned`, where nothing speaks for
        pushing."""
        return {
            "pi_hat": self.pi_hat_cost,
            "y_hat": self.y_hat_cost,
            "unearned": self.unearned_cost,
        }

    @property
    def interactions_per_meta_step(self) -> int:
        """Environment steps that agents train on in one meta-step."""
        return self.lifetimes * self.num_envs * self.num_steps * self.num_updates

    def as_json(self) -> dict[str, Any]:
        """All fields as plain JSON, and the rule's kind."""
        plain = json.loads(json.dumps(asdict(self)))
        return {**plain, "rule": {"rule": self.rule.kind, **plain["rule"]}}
