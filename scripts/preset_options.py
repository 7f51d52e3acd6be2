"""A preset by name with other environments, lifetimes or precision: flags that benchmarks share."""

from dataclasses import dataclass, replace

from lpg.precision import Precision


@dataclass(frozen=True)
class PresetOptions:
    preset: str = "paper"
    """Preset to start from."""
    envs: tuple[str, ...] = ()
    """Environments in place of the preset's."""
    lifetimes: int | None = None
    """In all, in place of the preset's."""
    precision: Precision = "auto"
    """Of the rule's LSTM."""

    def config(self):
        """The preset with all of this applied."""
        # Here, so that a process which only starts others takes no device.
        from metatrain.presets import PRESETS

        config = PRESETS[self.preset]
        return replace(
            config,
            envs=self.envs or config.envs,
            lifetimes=config.lifetimes if self.lifetimes is None else self.lifetimes,
            rule=replace(config.rule, precision=self.precision),
        )
