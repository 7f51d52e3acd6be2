"""The pictures of a probe: chains, targets, drift and reward-free entropy."""

from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lpg.runs import figures
from metatest.probe.protocol import HEADLINE_ARM, HORIZON, INTACT, Y_CUT
from metatest.probe.results import ChainLives, Estimate, Probe, RewardFree
from metatest.probe.targets import ASKED, GAE_LAMBDA, GAMMA, REWARDS, Responses

ENDS = "episode goes on", "episode ends"  # of the step asked, as Responses orders them

LABELS = {INTACT: "intact", Y_CUT: "y cut"}
BIN = 5  # chain lengths that share a point


def draw_all(probe: Probe, directory: Path) -> None:
    """Write the four pictures, also as PDF; raises OSError where the directory refuses."""
    draw_chains(probe, directory / "chains.png")
    draw_targets(probe, directory / "targets.png")
    draw_drift(probe, directory / "drift.png")
    draw_entropy(probe, directory / "entropy.png")


def draw_chains(probe: Probe, path: Path) -> None:
    """Late return on `long`: by chain length at the headlines' alpha, and by arm."""
    alpha, alpha_y = HEADLINE_ARM
    shown = {
        "intact": (INTACT, alpha_y),
        "y cut": (Y_CUT, alpha_y),
        "alpha_y = 0": (INTACT, 0.0),
    }
    with figures.panels(path, 2, 2, (5.5, 3.8)) as (figure, (by_length, by_arm)):
        lines = {}
        for (label, (variant, cost)), look in zip(shown.items(), figures.LOOKS, strict=False):
            if (lives := probe.arm(variant, alpha, cost)) is not None:
                lines[label] = _draw_by_length(by_length, lives, look)
        by_length.axvline(HORIZON + 0.5, color="grey", linestyle=":", linewidth=1)
        by_length.set(
            xlabel="chain length L (dotted: trajectory of T = 20)",
            ylabel="late return",
            title=f"long, alpha {alpha:g}, alpha_y {alpha_y:g}",
            ylim=(-1.1, 1.1),
        )
        figures.legend(by_length, lines)
        _draw_by_arm(by_arm, probe)
        figures.title(figure, "does it bootstrap? Means over lives ±1 standard error")


def _draw_by_length(axis: Axes, lives: ChainLives, look: figures.Look) -> Artist:
    bins = (lives.length - 1) // BIN
    places = np.unique(bins)
    estimates = [Estimate.of(lives.late_return[bins == place]) for place in places]
    axis.plot(lives.length, lives.late_return, ".", color=look["color"], markersize=3, alpha=0.4)
    centres = [lives.length[bins == place].mean() for place in places]
    means, errors = _means(estimates), _errors(estimates)
    return axis.errorbar(centres, means, errors, marker="o", markersize=4, capsize=2, **look)[0]


def _draw_by_arm(axis: Axes, probe: Probe) -> None:
    arms = sorted({lives[1:3] for lives in probe.chains if lives.prediction_cost > 0})
    bars = {}
    for i, variant in enumerate(LABELS):
        found = [(place, probe.arm(variant, *arm)) for place, arm in enumerate(arms)]
        kept = [(place, lives.long_chains) for place, lives in found if lives is not None]
        if kept:
            estimates = [estimate for _, estimate in kept]
            bars[LABELS[variant]] = axis.bar(
                [place + 0.4 * i for place, _ in kept],
                _means(estimates),
                0.38,
                yerr=_errors(estimates),
                capsize=2,
            )[0]
    axis.set_xticks([place + 0.2 for place in range(len(arms))])
    axis.set_xticklabels([f"{alpha:g}, {cost:g}" for alpha, cost in arms], rotation=45, fontsize=8)
    axis.axhline(0.0, color="grey", linewidth=1)
    axis.set(
        xlabel="alpha, alpha_y",
        ylabel="late return",
        title=f"long, chains of L > {HORIZON}, by arm",
        ylim=(-1.1, 1.1),
    )
    figures.legend(axis, bars)


def draw_targets(probe: Probe, path: Path) -> None:
    """pi_hat and y_hat against one input at a time; a rule without y fills the first row only."""
    found = probe.responses
    count = 9 if len(found.own_y) else 3
    with figures.panels(path, count, 3, (5.0, 3.0)) as (figure, axes):
        _draw_lines(axes[0], REWARDS, found.reward, ENDS)
        axes[0].set(xlabel="reward of the step", ylabel="pi_hat", title="pi_hat and reward")
        axes[0].set_xticks((-1, -0.5, 0, 0.5, 1))
        rewards = ("reward -1", "reward 0", "reward 1")
        _draw_lines(axes[1], probe.drift.p, found.probability, rewards)
        axes[1].set(xlabel="pi(a|s) of the step", ylabel="pi_hat", title="pi_hat and pi")
        lines = _draw_credit(axes[2], found.credit, "pi_hat's change, last step = 1")
        (lines["GAE"],) = axes[2].plot(_steps_back(found.gae), found.gae / found.gae[-1], "k--")
        figures.legend(axes[2], lines)
        axes[2].set_title(f"credit for a last reward of 1 (GAE: {GAE_LAMBDA:g}, {GAMMA:g})")
        if count == 3:
            figures.title(figure, "this rule has no predictions")
            return
        _draw_predictions(figure, axes[3:8], found)
        axes[8].set_axis_off()
        axes[8].text(
            0.0,
            0.3,
            f"Asked of step {ASKED} of {HORIZON}, one change at a time.\nElsewhere no reward, no "
            "end,\npi = 1/2, y uniform.\nCategories stand in the order of pi_hat\n"
            "under the next state's y.",
        )


def _draw_predictions(figure: Figure, axes: list[Axes], found: Responses) -> None:
    """The five panels about y and y_hat."""
    by_y, going_on, ending, by_next_y, credit = axes
    order = np.argsort(found.next_y)
    ranks = np.arange(len(order))
    lines = {}
    for values, label in ((found.own_y, "of the state"), (found.next_y, "of the state after it")):
        (lines[label],) = by_y.plot(ranks, values[order], ".-")
    by_y.set(xlabel="category that y speaks for (in order)", ylabel="pi_hat", title="pi_hat and y")
    figures.legend(by_y, lines)
    for axis, y_hat, end in zip((going_on, ending), found.y_hat_reward, ENDS, strict=True):
        _draw_map(figure, axis, y_hat[:, order].T, (-1.0, 1.0), "reward of the step")
        axis.set_title(f"y_hat and reward, {end}")
    _draw_map(
        figure,
        by_next_y,
        found.y_hat_next_y[order][:, order].T,
        (0.0, len(order) - 1.0),
        "category that the next state's y speaks for",
    )
    by_next_y.set_title("y_hat and the next y")
    lines = _draw_credit(credit, found.y_credit, "total variation of y_hat, last step = 1")
    credit.set_title("y_hat, with and without that reward")
    figures.legend(credit, lines)


def _draw_lines(axis: Axes, x: np.ndarray, rows: np.ndarray, labels: tuple[str, ...]) -> None:
    lines = {}
    for values, label in zip(rows, labels, strict=True):
        (lines[label],) = axis.plot(x, values)
    axis.axhline(0.0, color="grey", linewidth=1)
    figures.legend(axis, lines)


def _draw_credit(axis: Axes, rows: np.ndarray, ylabel: str) -> dict[str, Artist]:
    """The lines by what they stand for."""
    lines = {}
    for values, label in zip(rows, ("episode goes on", "ends there"), strict=True):
        scale = values[-1] if values[-1] else 1.0
        (lines[label],) = axis.plot(_steps_back(values), values / scale, ".-")
    axis.axhline(0.0, color="grey", linewidth=1)
    axis.set(xlabel="steps before the reward", ylabel=ylabel)
    return lines


def _steps_back(values: np.ndarray) -> np.ndarray:
    return np.arange(len(values))[::-1]


def _draw_map(
    figure: Figure, axis: Axes, values: np.ndarray, span: tuple[float, float], xlabel: str
) -> None:
    extent = (span[0], span[1], -0.5, len(values) - 0.5)
    image = axis.imshow(values, aspect="auto", origin="lower", extent=extent, cmap="viridis")
    axis.set(xlabel=xlabel, ylabel="category of y_hat")
    figure.colorbar(image, ax=axis, label="y_hat")


def draw_drift(probe: Probe, path: Path) -> None:
    """pi_hat without evidence, and the drift D(p) that it amounts to, over p."""
    p, pi_hat, drift = probe.drift
    with figures.panels(path, 2, 2, (4.5, 3.6)) as (_, (left, right)):
        left.plot(p, pi_hat)
        left.set(xlabel="pi(a|s) of the action taken", ylabel="pi_hat")
        figures.title(left, "pi_hat, no evidence")
        right.plot(p, drift)
        (asked,) = right.plot([0.7], [probe.drift.at(0.7)], "o")
        right.set(xlabel="p of one of two actions", ylabel="D(p): the logit's step / alpha")
        figures.title(right, "drift (> 0 beyond p = 1/2: to certainty)")
        figures.legend(right, {f"D(.7) = {probe.drift.at(0.7):.3f}": asked})
        for axis in (left, right):
            axis.axhline(0.0, color="grey", linewidth=1)


def draw_entropy(probe: Probe, path: Path) -> None:
    """Policies' entropy over lives without reward, of the table and of the network."""
    lives = {"table, long": probe.table, "D(64-64), CartPole-v1": probe.network}
    with figures.panels(path, 1, 1, (5.5, 3.8)) as (_, (axis,)):
        lines = {}
        for (label, found), look in zip(lives.items(), figures.LOOKS, strict=False):
            lines[label] = _draw_band(axis, found, look)
        axis.axhline(np.log(2), color="grey", linestyle=":", linewidth=1)
        axis.set(
            xlabel="updates without any reward", ylabel="policy's entropy (nats)", ylim=(0.0, 0.75)
        )
        figures.title(axis, "lives ±1 standard error; dotted: ln 2")
        figures.legend(axis, lines)


def _draw_band(axis: Axes, found: RewardFree, look: figures.Look) -> Artist:
    estimates = [Estimate.of(row) for row in found.entropy]
    mean, error = np.array(_means(estimates)), np.array(_errors(estimates))
    (line,) = axis.plot(found.updates, mean, **look)
    axis.fill_between(found.updates, mean - error, mean + error, alpha=0.25, color=look["color"])
    return line


def _means(estimates: list[Estimate]) -> list[float]:
    return [np.nan if e.mean is None else e.mean for e in estimates]


def _errors(estimates: list[Estimate]) -> list[float]:
    return [e.standard_error or 0.0 for e in estimates]
