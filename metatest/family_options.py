"""Which options each agent of the family takes: `family.TuningOptions` has those of all."""

# Of all: how IMPALA's optimiser and the harness train.
TRAINING = (
    "learning_rates",
    "atari_rates",
    "num_envs",
    "lag",
    "max_norm",
    "epsilon",
    "initial_scale",
    "constant_rate",
)
WEIGHTS = ("gamma", "value_cost", "entropy_cost")
QUANTILES = ("gamma", "num_quantiles", "kappa", "n_step")
OWN = {
    "impala": WEIGHTS,
    "mgrl": (*WEIGHTS, "live", "start_gamma", "embedded", "surrogate"),
    "stac": (*WEIGHTS, "live", "start_gamma", "kl_cost", "surrogate"),
    "stacx": (*WEIGHTS, "live", "start_gamma", "kl_cost", "num_heads", "surrogate"),
    "drmg": (*QUANTILES, "live", "shared"),
    "qr": QUANTILES,
}
# How metaparameters are tuned, of no account where none is.
TUNING = ("pairs", "meta_learning_rate", "start", "outer_rows", "differentiate_clip")
ONLY_TUNED = (*TUNING, "start_gamma", "embedded", "kl_cost", "shared", "surrogate")


def taken(kind: str, tuned: bool) -> frozenset[str]:
    """Names of the options that the agent called `kind` takes, where it tunes something or not."""
    names = {*TRAINING, *TUNING, *OWN[kind]}
    return frozenset(names if tuned else names - {*ONLY_TUNED})
