"""IMPALA and the agents that tune themselves, by name: one line an algorithm."""

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import jax
import optax

from lpg.learner import FrozenRule, Learner
from lpg.optimizers import impala_optimizer
from lpg.rules.drmg import ALL as QUANTILE_METAPARAMETERS
from lpg.rules.drmg import DrMG
from lpg.rules.stac import ALL, STAC, Metaparameters, mgrl
from lpg.rules.stacx import STACX
from lpg.self_tuning import OnlineRule, Pairs, SelfTuning
from metatest.tasks import TaskSpec, TrainingSettings
from metatest.training import Arm, AtariTraining, Training


@dataclass(frozen=True)
class TuningOptions:
    """Of impala, mgrl, stac, stacx, drmg and qr; the published values but for learning rates.

    A name can carry its own: stac[gamma,lam] tunes these two alone, stacx[num_heads=5] has five
    heads, drmg[] tunes nothing.
    """

    gamma: float = 0.995
    """Discount factor of IMPALA and QR, and of the outer loss."""
    learning_rates: tuple[float, ...] = (2e-3, 6e-3, 2e-2, 6e-2)
    """Arms of RMSProp's on gymnax; each falls linearly to 0."""
    atari_rates: tuple[float, ...] = (6e-4,)
    """The same on Atari."""
    num_envs: int = 32
    """Parallel environments per agent; losses are sums over them."""
    lag: int = 0
    """Updates by which the acting parameters are old."""
    live: tuple[str, ...] | None = None
    """Metaparameters that are learned; else all that the algorithm has."""
    pairs: Pairs = "swap"
    """Inner and outer data: swap takes two trajectories, each inner once; following; same."""
    meta_learning_rate: float = 1e-3
    """Adam's, of the metaparameters before their sigmoid."""
    start: Literal["outer", "4.6"] = "outer"
    """Metaparameters at birth: gamma as in the outer loss and the others at 0.99 of their bounds,
    or sigmoid(4.6) for all."""
    embedded: bool = True
    """Whether MGRL's network is told its metaparameters."""
    outer_rows: int | None = None
    """Environments of the outer trajectory that count, else all (MGRL's paper: 8 of 32)."""
    num_heads: int = 3
    """STACX's."""
    num_quantiles: int = 32
    """DrMG's and QR's."""
    kappa: float = 1.0
    """Where the quantile loss turns linear."""
    shared: bool = False
    """DrMG: one gamma, lambda and w_Z for all quantiles."""
    n_step: int | None = None
    """DrMG: n-step returns in place of V-trace's."""
    kl_cost: float = 1.0
    """STAC, STACX: weight of KL(new || old) in the outer loss."""
    max_norm: float = 40.0
    """Global norm at which gradients are clipped."""
    epsilon: float = 0.1
    """RMSProp's, inside the root."""
    constant_rate: bool = False
    """Keep the learning rate in place of letting it fall."""

    def __post_init__(self) -> None:
        if not 0 <= self.gamma < 1:
            raise ValueError(f"gamma must lie in [0, 1), got {self.gamma}.")
        if self.lag < 0 or self.num_envs < 1 or not self.learning_rates:
            raise ValueError("lag must be at least 0, num_envs 1, and learning_rates not empty.")

    def tuned(self, rule: Any) -> Learner:
        """The learner of a rule of the family: frozen where nothing is live."""
        if not rule.live:
            return FrozenRule(rule, rule.reference)
        adam = optax.adam(self.meta_learning_rate)
        return SelfTuning(rule, self.pairs, adam, self.outer_rows, self.lag)

    def begun(self, rule: STAC) -> STAC:
        """The rule with where it starts, and its weight of the KL where it has one."""
        kl = self.kl_cost if rule.outer.kl else 0.0
        rule = replace(rule, outer=rule.outer._replace(kl=kl))
        if self.start == "outer":
            return rule
        near = float(jax.nn.sigmoid(4.6))
        return replace(rule, start=near, start_gamma=near)


def _stac(options: TuningOptions) -> OnlineRule:
    reference = Metaparameters(gamma=options.gamma)
    return options.begun(STAC(_live(options, ALL), reference))


def _stacx(options: TuningOptions) -> OnlineRule:
    reference = Metaparameters(gamma=options.gamma)
    return options.begun(STACX(_live(options, ALL), reference, num_heads=options.num_heads))


def _mgrl(options: TuningOptions) -> OnlineRule:
    rule = mgrl(_live(options, ("gamma", "lam")), options.embedded)
    return options.begun(replace(rule, reference=Metaparameters(gamma=options.gamma)))


def _drmg(options: TuningOptions) -> OnlineRule:
    known = QUANTILE_METAPARAMETERS
    if options.n_step is not None:
        known = tuple(name for name in known if name not in ("lam", "alpha"))
    return DrMG(
        live=_live(options, known),
        num_quantiles=options.num_quantiles,
        kappa=options.kappa,
        gamma=options.gamma,
        shared=options.shared,
        num_steps=options.n_step,
    )


def _live(options: TuningOptions, default: tuple[str, ...]) -> tuple[str, ...]:
    return default if options.live is None else options.live


FAMILY: dict[str, Callable[[TuningOptions], OnlineRule]] = {
    "impala": lambda options: _stac(replace(options, live=())),
    "mgrl": _mgrl,
    "stac": _stac,
    "stacx": _stacx,
    "drmg": _drmg,
    "qr": lambda options: _drmg(replace(options, live=())),
}


def of_family(name: str, options: TuningOptions) -> tuple[Learner, Training] | None:
    """The algorithm called `name`, which may carry options in brackets; None for other names.

    Raises ValueError for options that there are not.
    """
    match = re.fullmatch(r"(\w+)(?:\[(.*)\])?", name)
    if match is None or match[1] not in FAMILY:
        return None
    if match[2] is not None:
        options = _with(options, name, match[2])
    learner = options.tuned(FAMILY[match[1]](options))
    return learner, training(learner, options)


def training(learner: Learner, options: TuningOptions) -> Training:
    """IMPALA's settings and optimiser; arms are learning rates alone."""

    def settings(spec: TaskSpec) -> TrainingSettings:
        scale = spec.actor_critic.reward_scale
        return TrainingSettings(options.num_envs, options.gamma, scale)

    def arms(spec: TaskSpec) -> list[Arm]:
        del spec
        return [(rate, None) for rate in options.learning_rates]

    def rmsprop(num_updates: int) -> optax.GradientTransformation:
        return impala_optimizer(
            num_updates * learner.fresh,  # theta moves once a trajectory
            max_norm=options.max_norm,
            eps=options.epsilon,
            constant_rate=options.constant_rate,
        )

    atari = AtariTraining("resnet", options.num_envs, options.atari_rates, (None,), rmsprop)
    return Training(settings, arms, lambda spec, n: rmsprop(n), options.lag, atari)


def _with(options: TuningOptions, name: str, text: str) -> TuningOptions:
    known = {field.name for field in fields(TuningOptions)}
    live, given = [], {}
    for part in filter(None, (x.strip() for x in text.split(","))):
        field, equals, value = part.partition("=")
        if not equals:
            live.append(part)
        elif field in known:
            try:
                given[field] = _value(value, getattr(options, field))
            except (ValueError, SyntaxError, TypeError) as error:
                raise ValueError(f"{name}: {field} cannot be {value!r}.") from error
        else:
            raise ValueError(f"{name} names {field!r}, which is no option; see metatest --help.")
    if live or not given:
        given["live"] = tuple(live)
    return replace(options, **given)


def _value(text: str, current: Any) -> Any:
    """Of the type that the option has; ValueError where `text` is none of it."""
    if isinstance(current, str):
        return text
    value = ast.literal_eval(text)
    return float(value) if isinstance(current, float) else value
