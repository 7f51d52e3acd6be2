"""What a probe found: estimates with their errors, and the record that becomes probe.json."""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from metatest.probe.protocol import HEADLINE_ARM, HORIZON, INTACT, Y_CUT
from metatest.probe.targets import Drift, NoEvidence, Responses
from metatest.report.results import with_none


@dataclass(frozen=True)
class Estimate:
    """A mean over lives; None where there are none (or, of the error, just one)."""

    mean: float | None
    standard_error: float | None
    lives: int

    @classmethod
    def of(cls, values: np.ndarray) -> "Estimate":
        """Lives whose value is not finite are left out."""
        kept = np.asarray(values, float)
        kept = kept[np.isfinite(kept)]
        n = len(kept)
        error = float(kept.std(ddof=1) / np.sqrt(n)) if n > 1 else None
        return cls(float(kept.mean()) if n else None, error, n)


class ChainLives(NamedTuple):
    """N lives on `long` under one variant of the rule and one arm."""

    variant: str  # INTACT or Y_CUT
    learning_rate: float
    prediction_cost: float
    length: Int[np.ndarray, "N"]
    late_return: Float[np.ndarray, "N"]  # mean over the episodes of the last tenth of life
    collapsed: Bool[np.ndarray, "N"]  # ended deterministic on a wrong first action
    information: Float[np.ndarray, "N"]  # ln m - mean H(y) in nats at the end; NaN without y

    @property
    def long_chains(self) -> Estimate:
        """Late return where no trajectory holds both the choice and its reward."""
        return Estimate.of(self.late_return[self.length > HORIZON])

    @property
    def short_chains(self) -> Estimate:
        """Late return where one trajectory can hold both the choice and its reward."""
        return Estimate.of(self.late_return[self.length <= HORIZON])

    def to_json(self) -> dict[str, Any]:
        """The estimates, and each life's length and late return; NaN becomes None."""
        return {
            "variant": self.variant,
            "learning_rate": self.learning_rate,
            "prediction_cost": self.prediction_cost,
            "long_chains": asdict(self.long_chains),
            "short_chains": asdict(self.short_chains),
            "collapsed": asdict(Estimate.of(self.collapsed)),
            "prediction_information": asdict(Estimate.of(self.information)),
            "length": self.length.tolist(),
            "late_return": with_none(self.late_return),
        }


class RewardFree(NamedTuple):
    """Entropy in nats of the policies of lives that earn nothing, on the states they visit."""

    updates: Int[np.ndarray, "P"]
    entropy: Float[np.ndarray, "P N"]

    @property
    def last(self) -> Estimate:
        """Entropy at the end of the lives."""
        return Estimate.of(self.entropy[-1])

    def to_json(self) -> dict[str, Any]:
        """The mean over lives at every point, and the last one with its error."""
        mean = with_none(self.entropy.mean(axis=1))
        return {"updates": self.updates.tolist(), "mean": mean, "last": asdict(self.last)}


@dataclass(frozen=True)
class Probe:
    """Everything that one probe measured."""

    chains: list[ChainLives]
    sparse: dict[str, Estimate]  # late return on `sparse` by variant
    table: RewardFree
    network: RewardFree
    drift: Drift
    no_evidence: NoEvidence
    responses: Responses

    def arm(self, variant: str, learning_rate: float, prediction_cost: float) -> ChainLives | None:
        """The lives of one variant at one arm; None where there are none."""
        for lives in self.chains:
            if lives[:3] == (variant, learning_rate, prediction_cost):
                return lives
        return None

    def headlines(self) -> dict[str, Estimate | None]:
        """The figures by which rules are compared, in the order in which they are printed."""
        intact, cut = (self.arm(v, *HEADLINE_ARM) for v in (INTACT, Y_CUT))
        unlearned = self.arm(INTACT, HEADLINE_ARM[0], 0.0)
        assert intact is not None
        return {
            "long_chains_intact": intact.long_chains,
            "long_chains_y_cut": cut and cut.long_chains,
            "long_chains_alpha_y_0": unlearned and unlearned.long_chains,
            "short_chains_intact": intact.short_chains,
            "short_chains_y_cut": cut and cut.short_chains,
            "short_chains_alpha_y_0": unlearned and unlearned.short_chains,
            "collapsed_lives": Estimate.of(intact.collapsed),
            "prediction_information": Estimate.of(intact.information),
            "sparse_intact": self.sparse[INTACT],
            "sparse_y_cut": self.sparse.get(Y_CUT),
            "reward_free_entropy_table": self.table.last,
            "reward_free_entropy_network": self.network.last,
        }

    def to_json(self) -> dict[str, Any]:
        """The headlines by name, their errors, and the tables behind them."""
        found = self.headlines()
        return {
            **{name: x and x.mean for name, x in found.items()},
            "drift": self.drift.at(0.7),
            **self.no_evidence._asdict(),
            "estimates": {name: x and asdict(x) for name, x in found.items()},
            "chains": [lives.to_json() for lives in self.chains],
            "reward_free": {"table": self.table.to_json(), "network": self.network.to_json()},
            "drift_curve": {name: with_none(x) for name, x in self.drift._asdict().items()},
            "responses": {name: with_none(x) for name, x in self.responses._asdict().items()},
        }
