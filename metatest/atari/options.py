"""How agents are meta-tested on Atari (Oh et al. 2020, B.2 and Table 4)."""

from dataclasses import dataclass, field, replace

from metatest.algorithms import Algorithm
from metatest.atari.env import FRAMES_PER_STEP, AtariSettings

# Options of which an algorithm may have its own (`metatest.training.AtariTraining`).
AT_THE_ALGORITHMS = ("learning_rates", "prediction_costs", "gamma")


@dataclass(frozen=True)
class AtariOptions:
    """Meta-testing on Atari (Oh et al. 2020, B.2 and Table 4)."""

    frames: int = 200_000_000
    """Emulator frames of one agent; 200M are 83,333 updates. A run goes on with more of them, but
    for algorithms whose learning rate falls over a life, as IMPALA's does."""
    learning_rates: tuple[float, ...] = (5e-4,)
    """Adam's; several are tried on a run of their own (searched: 1e-3, 5e-4, 3e-4)."""
    prediction_costs: tuple[float | None, ...] = (0.5,)
    """alpha_y, for A2C the value's weight (searched: 1, 0.5, 0.1)."""
    gamma: float = 0.995
    """Discount factor (Table 4)."""
    num_steps: int = 20
    """Steps of a trajectory (Table 4)."""
    seeds: int = 3
    """Independent agents per game."""
    selection_frames: int = 10_000_000
    """Frames of each run that only chooses among several arms."""
    log_every: int = 100
    """Updates between lines of metrics.jsonl."""
    checkpoint_every: int = 500
    """Updates between checkpoints."""
    video_steps: int = 900
    """Steps of the final agent's video; 0 for none."""
    settings: AtariSettings = field(default_factory=AtariSettings)

    def __post_init__(self) -> None:
        counts = ("seeds", "num_steps", "log_every", "checkpoint_every", "frames")
        for name in (*counts, "selection_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"Atari's {name} must be at least 1, got {getattr(self, name)}.")
        if not 0 <= self.gamma < 1:
            raise ValueError(f"Atari's gamma must lie in [0, 1), got {self.gamma}.")
        if not self.learning_rates or not self.prediction_costs:
            raise ValueError("Atari needs at least one learning rate and one alpha_y.")

    def of(self, algorithm: Algorithm) -> "AtariOptions":
        """With what the algorithm has of its own in place."""
        own = algorithm.training.atari
        given = {name: getattr(own, name) for name in AT_THE_ALGORITHMS}
        options = replace(self, **{name: x for name, x in given.items() if x is not None})
        if own.num_envs is None:
            return options
        return replace(options, settings=replace(self.settings, num_envs=own.num_envs))

    def steps_per_update(self, fresh: int = 1) -> int:
        """Environment steps of all emulators, for a learner that takes `fresh` new trajectories."""
        return fresh * self.settings.num_envs * self.num_steps

    def num_updates(self, total_frames: int, fresh: int = 1) -> int:
        """Agent updates that fit into `total_frames` emulator frames, at least one."""
        return max(1, total_frames // (self.steps_per_update(fresh) * FRAMES_PER_STEP))
