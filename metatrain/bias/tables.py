"""The study's reference as Markdown: Acc and sums of standard deviations, with standard errors."""

from dataclasses import replace

from metatrain.bias.accuracy import Setting
from metatrain.bias.kept import Cells


def table(settings: list[Setting], cells: Cells) -> str:
    """Settings that differ in estimator and roles make a table: a row an estimator, a column a
    code."""
    groups = dict.fromkeys(replace(s, estimator="dice", roles="ESE") for s in settings)
    parts = []
    for what, heading in (("acc", "Acc"), ("std_sum", "Sum of standard deviations")):
        for group in groups:
            own = [s for s in settings if replace(s, estimator="dice", roles="ESE") == group]
            parts.append(f"{heading}, {_told(group)}\n\n{_rows(own, cells, what)}\n")
    return "\n".join(parts)


def _told(group: Setting) -> str:
    noise = "" if group.value_noise else ", V without noise"
    sizes = f"{group.mdps} MDPs x {group.repeats}"
    return f"K = {group.inner_steps}, n = {group.trajectories}{noise} ({sizes}):"


def _rows(settings: list[Setting], cells: Cells, what: str) -> str:
    """± standard error over MDPs."""
    codes = list(dict.fromkeys(s.roles for s in settings))
    lines = [f"| | {' | '.join(codes)} |", "|---" * (len(codes) + 1) + "|"]
    for name in dict.fromkeys(s.estimator for s in settings):
        own = {s.roles: cells[s] for s in settings if s.estimator == name}
        values = (f"{own[code][what]:.3f} ± {own[code][f'{what}_se']:.3f}" for code in codes)
        lines.append(f"| {name} | {' | '.join(values)} |")
    return "\n".join(lines)
