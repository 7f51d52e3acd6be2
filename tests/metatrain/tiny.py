"""One small engine that the engine's tests share."""

from lpg.learned_rule import LPG
from metatrain.presets import MetaTrainConfig

TINY = MetaTrainConfig(
    envs=("sparse", "short", "long_noisy", "distractor"),
    lifetimes=8,
    num_envs=4,
    num_steps=5,
    num_updates=2,
    meta_steps=8,
    lifetime_scale=0.0004,
    meta_learning_rate=1e-2,
    rule=LPG(hidden_size=8, prediction_size=5, embedding_size=4),
)
