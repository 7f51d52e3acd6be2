"""IMPALA and the agents that tune themselves, by name: one line an algorithm."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import optax

from lpg.learner import FrozenRule, Learner
from lpg.losses.estimators import Surrogate
from lpg.optimizers import impala_optimizer
from lpg.rules.drmg import ALL as QUANTILE_METAPARAMETERS
from lpg.rules.drmg import DrMG
from lpg.rules.stac import ALL, POLICY_ONLY, STAC, Metaparameters, OuterCosts, mgrl
from lpg.rules.stacx import STACX
from lpg.self_tuning import OnlineRule, Pairs, SelfTuning
from metatest.brackets import within_brackets
from metatest.family_options import taken
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
    value_cost: float = 0.25
    """Weight of (v - V)^2 in IMPALA's loss and in the outer one of STAC and STACX."""
    entropy_cost: float = 0.01
    """Weight of the entropy in the same."""
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
    start: float = 0.99
    """Metaparameters at birth as shares of their bounds, all but gamma."""
    start_gamma: float | None = None
    """gamma at birth; else as in the outer loss."""
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
    surrogate: Surrogate = "autodiff"
    """MGRL, STAC, STACX: of the policy gradient that the meta-gradient goes through."""
    max_norm: float = 40.0
    """Global norm at which gradients are clipped."""
    epsilon: float = 0.1
    """RMSProp's, inside the root."""
    initial_scale: float = 1.0
    """RMSProp's accumulator at first: 1 as TensorFlow has it, 0 as optax."""
    differentiate_clip: bool = False
    """Let the meta-gradient pass through the factor that clips; else that is a constant."""
    constant_rate: bool = False
    """Keep the learning rate in place of letting it fall."""

    def __post_init__(self) -> None:
        if not 0 <= self.gamma < 1:
            raise ValueError(f"gamma must lie in [0, 1), got {self.gamma}.")
        if self.lag < 0 or self.num_envs < 1 or not self.learning_rates:
            raise ValueError("lag must be at least 0, num_envs 1, and learning_rates not empty.")
        born = (self.start, 0.5 if self.start_gamma is None else self.start_gamma)
        if not all(0 < x < 1 for x in born):
            raise ValueError(f"start and start_gamma must lie between 0 and 1, got {born}.")

    def tuned(self, rule: Any) -> Learner:
        """The learner of a rule of the family: frozen where nothing is live."""
        if not rule.live:
            return FrozenRule(rule, rule.reference)
        adam = optax.adam(self.meta_learning_rate)
        return SelfTuning(rule, self.pairs, adam, self.outer_rows, self.lag)

    def weighed(self, rule: STAC) -> STAC:
        """The rule with these discounts, weights and values at birth."""
        costs = {"value_cost": self.value_cost, "entropy_cost": self.entropy_cost}
        reference = Metaparameters(gamma=self.gamma, **costs)
        outer = OuterCosts(self.value_cost, 1.0, self.entropy_cost, self.kl_cost)
        if rule.outer == POLICY_ONLY:
            outer = POLICY_ONLY
        begun = {"start": self.start, "start_gamma": self.start_gamma}
        return replace(rule, reference=reference, outer=outer, surrogate=self.surrogate, **begun)


def _stac(options: TuningOptions) -> OnlineRule:
    return options.weighed(STAC(_live(options, ALL)))


def _stacx(options: TuningOptions) -> OnlineRule:
    return options.weighed(STACX(_live(options, ALL), num_heads=options.num_heads))


def _mgrl(options: TuningOptions) -> OnlineRule:
    return options.weighed(mgrl(_live(options, ("gamma", "lam")), options.embedded))


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
        start=options.start,
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

    Raises ValueError for options that there are not, or that it does not take.
    """
    found = resolved(name, options)
    if found is None:
        return None
    kind, options = found
    learner = options.tuned(FAMILY[kind](options))
    return learner, training(learner, options)


def resolved(name: str, options: TuningOptions) -> tuple[str, TuningOptions] | None:
    """The kind of algorithm that `name` names, and the options with its own in place."""
    match = re.fullmatch(r"(\w+)(?:\[(.*)\])?", name)
    if match is None or match[1] not in FAMILY:
        return None
    return match[1], options if match[2] is None else _with(options, match[1], name, match[2])


def options_of(name: str, options: TuningOptions) -> dict[str, Any]:
    """What of the options the algorithm called `name` takes, its own in place; {} where it is none
    of the family."""
    found = resolved(name, options)
    if found is None:
        return {}
    kind, options = found
    tuned = bool(FAMILY[kind](options).live)
    return {option: getattr(options, option) for option in sorted(taken(kind, tuned))}


def version_of(name: str, options: TuningOptions) -> dict[str, Any]:
    """What tells the algorithm from another of its name, but for the arms that are tried."""
    options_taken = options_of(name, options).items()
    arms = ("learning_rates", "atari_rates")
    before = ("surrogate", "autodiff")  # as it was, and unsaid, before there was a choice
    told = (x for x in options_taken if x[0] not in arms and x != before)
    return {f"tuning.{option}": x for option, x in told}


def training(learner: Learner, options: TuningOptions) -> Training:
    """IMPALA's settings and optimiser; arms are learning rates alone."""

    def settings(spec: TaskSpec) -> TrainingSettings:
        return spec.uncentred._replace(num_envs=options.num_envs, gamma=options.gamma)

    def arms(spec: TaskSpec) -> list[Arm]:
        del spec
        return [(rate, None) for rate in options.learning_rates]

    def rmsprop(num_updates: int) -> optax.GradientTransformation:
        return impala_optimizer(
            num_updates * learner.fresh,  # theta moves once a trajectory
            max_norm=options.max_norm,
            eps=options.epsilon,
            initial_scale=options.initial_scale,
            differentiate_clip=options.differentiate_clip,
            constant_rate=options.constant_rate,
        )

    atari = AtariTraining(
        "resnet",
        options.num_envs,
        options.atari_rates,
        (None,),
        options.gamma,
        rmsprop,
        scheduled=not options.constant_rate,
    )
    return Training(settings, arms, lambda spec, n: rmsprop(n), options.lag, atari, ("gamma",))


def _with(options: TuningOptions, kind: str, name: str, text: str) -> TuningOptions:
    given = within_brackets(name, text, options)
    options = replace(options, **given)
    tuned = bool(FAMILY[kind](options).live)
    for field in given.keys() - taken(kind, tuned) - {"live"}:
        what = kind if tuned or field not in taken(kind, True) else f"{kind} that tunes nothing"
        raise ValueError(f"{name}: {what} does not take {field}.")
    return options
