"""The command `metatrain list`: the presets."""

from rich import box
from rich.table import Table

from metatrain.presets import PRESETS, WHAT_FOR


def presets() -> Table:
    """What each trains on, how much, and where that is bearable."""
    table = Table(title="Presets", box=box.SIMPLE_HEAD)
    for name in ("preset", "envs", "lifetimes", "LSTM", "steps", "for"):
        table.add_column(name, overflow="fold")
    for name, config in PRESETS.items():
        steps = config.meta_steps * config.interactions_per_meta_step
        table.add_row(
            name,
            str(len(config.envs)),
            f"{config.lifetimes} x {config.num_envs}",
            str(getattr(config.rule, "hidden_size", "-")),
            f"{steps:.1e}",
            WHAT_FOR[name],
        )
    return table
