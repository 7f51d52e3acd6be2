"""MGRL that looks several updates ahead, by name: lvc_mgrl, and the A2C that it is compared with.

lvc_mgrl[surrogate=autodiff] is the plain one, lvc_mgrl[window=reuse] keeps its K updates, and
lvc_mgrl[] tunes nothing, and lvc_mgrl[live=(),num_envs=8] neither.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

import optax

from lpg.learner import FrozenRule, Learner
from lpg.lookahead import Lookahead, Window
from lpg.losses.estimators import Surrogate
from lpg.optimizers import falling_adam
from lpg.rules.tuned_a2c import A2CMetaparameters, TunedA2C
from metatest.brackets import within_brackets
from metatest.tasks import TaskSpec, TrainingSettings
from metatest.training import Arm, AtariTraining, Training

NAME = "lvc_mgrl"
GAMMA = A2CMetaparameters().gamma


@dataclass(frozen=True)
class LookaheadOptions:
    """What its brackets may hold (Liu et al. 2022, appendix I.3)."""

    live: tuple[str, ...] = A2CMetaparameters._fields
    surrogate: Surrogate = "lvc"
    num_updates: int = 3  # K
    window: Window = "discard"  # what becomes of the K updates (lpg/lookahead.py)
    meta_learning_rate: float = 1e-3
    num_envs: int = 64
    max_norm: float = 0.5
    learning_rate: float = 7e-4  # Adam's at first; falls to 0

    def learner(self) -> Learner:
        """Frozen where nothing is live."""
        rule = TunedA2C(self.live, self.surrogate)
        if not self.live:
            return FrozenRule(rule, rule.reference)
        adam = optax.adam(self.meta_learning_rate)
        return Lookahead(rule, self.num_updates, self.window, adam)

    def training(self, learner: Learner) -> Training:
        """Steps fall over the real updates of a life."""
        each = getattr(learner, "real_updates", 1)

        def settings(spec: TaskSpec) -> TrainingSettings:
            return spec.uncentred._replace(num_envs=self.num_envs, gamma=GAMMA)

        def arms(spec: TaskSpec) -> list[Arm]:
            del spec
            return [(self.learning_rate, None)]

        def adam(num_updates: int) -> optax.GradientTransformation:
            return falling_adam(each * num_updates, self.max_norm)

        atari = AtariTraining(
            num_envs=self.num_envs,
            learning_rates=(self.learning_rate,),
            prediction_costs=(None,),
            gamma=GAMMA,
            optimizer=adam,
            scheduled=True,
        )
        return Training(
            settings, arms, lambda spec, n: adam(n), atari=atari, own_settings=("gamma",)
        )


def of_lookahead(name: str) -> tuple[Learner, Training, dict[str, Any]] | None:
    """Learner, training and version of the algorithm called `name`; None for other names.

    Raises ValueError for options that there are not.
    """
    match = re.fullmatch(rf"{NAME}(?:\[(.*)\])?", name)
    if match is None:
        return None
    options = LookaheadOptions()
    if match[1] is not None:
        options = replace(options, **within_brackets(name, match[1], options))
    if options.num_envs < 1 or not options.learning_rate > 0:
        raise ValueError(f"{name}: num_envs must be at least 1, and learning_rate positive.")
    learner = options.learner()
    return learner, options.training(learner), dict(vars(options))
