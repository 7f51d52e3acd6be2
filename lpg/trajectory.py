"""What a rollout yields."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int, Shaped


class Trajectory(NamedTuple):
    """T steps of B parallel environments that reset themselves."""

    # T1 = T + 1. Row t+1 after an episode's end is the next episode's first observation.
    observation: Shaped[Array, "T1 B *obs"]
    action: Int[Array, "T B"]
    reward: Float[Array, "T B"]
    terminated: Bool[Array, "T B"]  # the environment ended the episode
    truncated: Bool[Array, "T B"]  # the time limit did
    behaviour_log_prob: Float[Array, "T B"]  # of the action, under the policy that took it
    # V of the observation at which the time limit cut an episode, before the reset; 0 at all other
    # steps. None where nobody asked `rollout` for it.
    final_value: Float[Array, "T B"] | None = None

    @property
    def done(self) -> Bool[Array, "T B"]:
        """Whether the episode ended with the step, for either reason."""
        return self.terminated | self.truncated
