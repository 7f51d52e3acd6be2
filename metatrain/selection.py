"""Which eta a run exports: the running mean that validated best."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lpg.rule import RuleParams


class Selection(NamedTuple):
    """Which eta a run exports; part of the engine's state."""

    average: RuleParams  # running mean of eta, the candidate
    best: RuleParams  # the candidate that validated best so far
    best_score: Float[Array, ""]  # -inf before the first validation
    best_meta_step: Int[Array, ""]


def nothing_selected(rule_params: RuleParams) -> Selection:
    """Of a fresh eta, which any validation beats."""
    return Selection(rule_params, rule_params, jnp.float32(-jnp.inf), jnp.int32(0))


def averaged(
    selection: Selection, rule_params: RuleParams, decay: float, meta_step: Int[Array, ""]
) -> Selection:
    """The mean with eta after `meta_step` meta-steps in it; of the first few a plain one."""
    kept = jnp.minimum(decay, 1.0 - 1.0 / jnp.maximum(meta_step, 1))
    mean = jax.tree.map(lambda m, x: kept * m + (1 - kept) * x, selection.average, rule_params)
    return selection._replace(average=mean)


def chosen(selection: Selection, score: Float[Array, ""], meta_step: Int[Array, ""]) -> Selection:
    """After a validation of the mean; of equal scores the earlier one stays."""
    better = score > selection.best_score

    def newer(mean: Array, best: Array) -> Array:
        return jnp.where(better, mean, best)

    return Selection(
        average=selection.average,
        best=jax.tree.map(newer, selection.average, selection.best),
        best_score=newer(score, selection.best_score),
        best_meta_step=newer(meta_step, selection.best_meta_step),
    )


def exported(
    selection: Selection, last: RuleParams, meta_step: int
) -> tuple[RuleParams, int, float | None]:
    """What a run exports after `meta_step`: eta, of which meta-step, and its validation's score.

    The best validated mean; `last`, eta as it is, where nothing was validated yet.
    """
    score = float(selection.best_score)
    if score == float("-inf"):
        return last, meta_step, None
    return selection.best, int(selection.best_meta_step), score
