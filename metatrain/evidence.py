"""Rows in which nothing was earned, where a rule has no reason to push.

A rule whose pi_hat is of order one before any reward has been seen throws a coin: the first updates
at large learning rates make policies deterministic, by chance on a wrong action, before predictions
can have carried a reward back. So the outer objective can weigh pi_hat^2 in rows that hold no
evidence: rewards are zero *and* predictions say nothing. (With rewards zero but predictions as they
are, the penalty would forbid bootstrapping.)
"""

import jax
import jax.numpy as jnp

from lpg.rule import RuleInputs


def without_evidence(inputs: RuleInputs, num_rows: int) -> RuleInputs:
    """The first `num_rows` environments of each lifetime [L, T, B, ...] as if nothing was earned.

    Data: what the penalty asks of the rule is no business of the agent's.
    """
    rows = inputs._replace(gamma=inputs.gamma[:, None])
    rows = jax.tree.map(lambda x: jax.lax.stop_gradient(x[:, :, :num_rows]), rows)
    return rows._replace(
        reward=jnp.zeros_like(rows.reward),
        gamma=rows.gamma[:, 0],
        prediction=jnp.zeros_like(rows.prediction),  # logits: a uniform y
        value=jnp.zeros_like(rows.value),
    )
