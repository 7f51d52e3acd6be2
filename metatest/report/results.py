"""What one algorithm achieved on one environment, and results.jsonl, which holds it."""

import json
import re
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from lpg.files.storage import write_atomically
from metatest.curve import Curve, late_returns, late_rewards


@dataclass(frozen=True)
class Result:
    """P log points, S seeds. Seeds on which the arm was chosen are not among the S."""

    suite: str  # "published", "gymnax" or "atari"
    env: str
    algorithm: str
    learning_rate: float  # of the arm chosen
    prediction_cost: float | None  # alpha_y, or V's weight; None for who has neither
    num_envs: int  # parallel environments of one agent
    gamma: float  # discount factor
    reward_scale: float  # of the rewards learned from
    # [learning rate, prediction cost, late mean, its standard error] of every arm; no mean where an
    # agent diverged, no error for a single agent
    selection: list[list[float | None]]
    diverged: int  # agents among the S that ended with non-finite parameters
    updates: list[int]  # [P] agent updates done
    interactions: list[int]  # [P] environment steps of one agent (Atari: times 4 for frames)
    reward_per_step: list[list[float | None]]  # [P, S] as the agent saw it (Atari: clipped)
    episode_return: list[list[float | None]]  # [P, S] undiscounted, unclipped, unscaled
    late_reward_per_step: list[float | None]  # [S] last tenth of life
    late_return: list[float | None]  # [S] mean over the log points of the last tenth
    random_return: float | None  # of a uniformly random policy, where known
    reference_return: float | None  # what 1.0 means in normalised scores: optimum, best or human
    selection_metric: str | None = None  # of the late means: "return", or "reward per step"
    selection_steps: int | None = None  # of the lives on which the arm was chosen, where others
    reward_centre: float = 0.0  # of the rewards learned from, `train_agent.rewards_read`
    traces: dict[str, list[list[float | None]]] = field(
        default_factory=dict
    )  # [P, S] by metaparameter
    # `Algorithm.version` of who achieved it, so that it is not taken for another of its name
    version: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, curve: Curve, steps_per_update: int, **said: Any) -> "Result":
        """What the reported lives' curve shows; `said` are the other fields."""
        return cls(
            diverged=int(curve.diverged.sum()),
            updates=curve.updates.tolist(),
            interactions=(curve.updates * steps_per_update).tolist(),
            reward_per_step=with_none(curve.reward_per_step),
            episode_return=with_none(curve.episode_return),
            late_reward_per_step=with_none(late_rewards(curve)),
            late_return=with_none(late_returns(curve)),
            traces={name: with_none(x) for name, x in curve.traces.items()},
            **said,
        )

    @property
    def subject(self) -> tuple[str, str, str]:
        """What a run directory holds one result of."""
        return self.suite, self.env, self.algorithm

    @property
    def steps(self) -> int:
        """Environment steps of one agent's whole life."""
        return self.interactions[-1]

    @property
    def steps_per_update(self) -> int:
        """Environment steps of one agent in one update."""
        return self.interactions[-1] // self.updates[-1]

    def normalised(self) -> list[float | None]:
        """[S] (late return - random) / (reference - random); Nones where unknown."""
        if self.random_return is None or self.reference_return is None:
            return [None] * len(self.late_return)
        span = self.reference_return - self.random_return
        return [None if r is None else (r - self.random_return) / span for r in self.late_return]


def arm_words(learning_rate: float, prediction_cost: float | None) -> str:
    """An arm as tables have it."""
    words = [learning_rate] if prediction_cost is None else [learning_rate, prediction_cost]
    return ", ".join(f"{x:g}" for x in words)


def folder_name(name: str) -> str:
    """An algorithm's or environment's name without what globs, shells and paths read otherwise;
    some digits of its hash keep apart what is left alike, as of stac and stac[]."""
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-")
    return plain if plain == name else f"{plain}-{sha256(name.encode()).hexdigest()[:6]}"


def keep_result(run_dir: Path, result: Result) -> None:
    """One JSON object per environment and algorithm; in place of an older one, if there is any.

    Raises ValueError as `load_results` does, OSError where the disk refuses.
    """
    path = run_dir / "results.jsonl"
    rows = load_results(run_dir) if path.exists() else []
    rows = [row for row in rows if row.subject != result.subject] + [result]
    lines = (json.dumps(asdict(row), allow_nan=False) + "\n" for row in rows)
    write_atomically(path, "".join(lines).encode())


def load_results(run_dir: Path) -> list[Result]:
    """Raises ValueError where the file is absent or a line is not one that this version wrote."""
    path = run_dir / "results.jsonl"
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise ValueError(
            f"Cannot read {path} ({error.strerror}); name a directory that metatest wrote."
        ) from error
    return [_parse(path, number, line) for number, line in enumerate(lines, 1)]


def _parse(path: Path, number: int, line: str) -> Result:
    try:
        row = json.loads(line)
        return Result(**{f.name: row[f.name] for f in fields(Result) if f.name in row})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"Line {number} of {path} is not a result that this version can read; "
            "run metatest again with another --run-dir."
        ) from error


def with_none(values: Any) -> Any:
    """Nested lists with None for NaN and infinities, which JSON has no word for."""
    if np.ndim(values) == 0:
        return float(values) if np.isfinite(values) else None
    return [with_none(v) for v in values]
