"""Configs by name, and a config for another kind of rule."""

from dataclasses import asdict, fields, replace
from functools import partial

from lpg.rules.lpg import LPG
from lpg.rules.registry import LearnedRule, own_rule, rule_class
from metatrain.config import CENTRED, TABULAR_ENVIRONMENTS, MetaTrainConfig


def with_rule(config: MetaTrainConfig, kind: str) -> MetaTrainConfig:
    """`config` for a rule of another kind, with the sizes that both kinds have.

    A rule whose agents have no prediction vector has no use for beta_1 and beta_3, which are 0 then
    (Oh et al. 2020, section 4.4: LPG-V trains stably without). Raises ValueError for an unknown
    kind.
    """
    if kind == config.rule.kind:
        return config
    rule = _with_sizes_of(config, kind)
    if rule.heads(1).prediction:
        return replace(config, rule=rule)
    return replace(config, rule=rule, prediction_entropy_cost=0.0, y_hat_cost=0.0)


def _with_sizes_of(config: MetaTrainConfig, kind: str) -> LearnedRule:
    if (own := own_rule(kind)) is not None:
        return own
    cls, known = rule_class(kind), asdict(config.rule)
    return cls(**{f.name: known[f.name] for f in fields(cls) if f.name in known})


WHAT_FOR = {
    "paper": "a GPU or TPU",
    "paper_long": "a GPU or TPU for hours: whole 30M-step lifetimes",
    "published": "a GPU or TPU: Table 2 to the letter",
    "tabular": "a GPU or TPU",
    "cpu": "a CPU for a day",
    "small": "a CPU overnight",
    "quick": "a CPU in ten minutes",
}

# For the full-size LSTM, single elements of whose meta-gradient are near 1e-8.
FULL_SIZE = partial(MetaTrainConfig, meta_learning_rate=4e-4, meta_adam_epsilon=1e-10)

PRESETS = {
    # Tables 2 and 3: 960 lifetimes = 64 of each environment, 10^10 interactions. Departures: phi
    # reads m y - 1; beta_1 = beta_3 = 1e-5; pi_hat^2 without evidence costs .03; a tenth of the
    # lives earns nothing, and beta_0 is 3 there; a lifetime's share of the meta-gradient is
    # bounded, its norm clipped at .05; Adam at 4e-4 with a smaller epsilon; the best validated
    # mean of eta is exported, not the last eta.
    "paper": FULL_SIZE(),
    # The same with ten times the budget, so that 30M-step lifetimes come to their end.
    "paper_long": FULL_SIZE(meta_steps=16_270),
    # Table 2 to the letter, and nothing of ours.
    "published": MetaTrainConfig(
        prediction_entropy_cost=1e-3,
        y_hat_cost=1e-3,
        unearned_cost=0.0,
        reward_free_share=0.0,
        max_share=None,
        max_grad_norm=1.0,
        average_decay=0.0,
        rule=LPG(),
    ),
    # The nine tabular environments alone, published sizes.
    "tabular": FULL_SIZE(envs=TABULAR_ENVIRONMENTS, lifetimes=576, meta_steps=3_000),
    # All but the convolutional worlds, for hours on two CPU cores.
    "cpu": MetaTrainConfig(
        envs=(*TABULAR_ENVIRONMENTS, "distractor", "rand_small", "rand_sparse"),
        lifetimes=120,
        num_envs=16,
        meta_learning_rate=5e-4,
        lifetime_scale=0.1,
        meta_steps=52_000,
        validate_every=500,
        validation_seeds=2,
        validation_updates=250,
        rule=CENTRED(hidden_size=64),
    ),
    # All fifteen at a size that a CPU can carry overnight.
    "small": MetaTrainConfig(
        lifetimes=60,
        num_envs=16,
        meta_learning_rate=5e-4,
        lifetime_scale=0.1,
        meta_steps=4_000,
        rule=CENTRED(hidden_size=64),
    ),
    # Minutes on two CPU cores: the four tabular chains, a 32-unit LSTM.
    "quick": MetaTrainConfig(
        envs=("short", "short_noisy", "long", "long_noisy"),
        lifetimes=80,
        num_envs=16,
        meta_learning_rate=3e-4,
        lifetime_scale=0.1,
        meta_steps=1_200,
        validate_every=300,
        rule=CENTRED(hidden_size=32),
    ),
}
