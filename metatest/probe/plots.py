"""The pictures of a probe: chains, targets, drift and reward-free entropy."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metatest.probe.protocol import HEADLINE_ARM, HORIZON, INTACT, Y_CUT
from metatest.probe.results import ChainLives, Estimate, Probe, RewardFree
from metatest.probe.targets import ASKED, GAE_LAMBDA, GAMMA, REWARDS, Responses

ENDS = "episode goes on", "episode ends"  # of the step asked, as Responses orders them

LABELS = {INTACT: "intact", Y_CUT: "y cut"}
BIN = 5  # chain lengths that share a point


def draw_all(probe: Probe, directory: Path) -> list[Path]:
    """Write the four pictures; raises OSError where the directory refuses."""
    pictures = {
        "chains.png": draw_chains(probe),
        "targets.png": draw_targets(probe),
        "drift.png": draw_drift(probe),
        "entropy.png": draw_entropy(probe),
    }
    for name, figure in pictures.items():
        figure.tight_layout()
        figure.savefig(directory / name, dpi=90)
        plt.close(figure)
    return [directory / name for name in pictures]


def draw_chains(probe: Probe) -> Figure:
    """Late return on `long`: by chain length at the headlines' alpha, and by arm."""
    figure, (by_length, by_arm) = plt.subplots(1, 2, figsize=(11, 4))
    alpha, alpha_y = HEADLINE_ARM
    shown = [(INTACT, alpha_y, "intact"), (Y_CUT, alpha_y, "y cut"), (INTACT, 0.0, "alpha_y = 0")]
    for variant, prediction_cost, label in shown:
        if (lives := probe.arm(variant, alpha, prediction_cost)) is not None:
            _draw_by_length(by_length, lives, label)
    by_length.axvline(HORIZON + 0.5, color="grey", linestyle=":", linewidth=1)
    by_length.set(
        xlabel="chain length L (dotted: trajectory of T = 20)",
        ylabel="late return",
        title=f"long, alpha {alpha:g}, alpha_y {alpha_y:g}",
        ylim=(-1.1, 1.1),
    )
    by_length.legend(fontsize=8)
    _draw_by_arm(by_arm, probe)
    figure.suptitle("does it bootstrap? Means over lives ±1 standard error", fontsize=11)
    return figure


def _draw_by_length(axis: Axes, lives: ChainLives, label: str) -> None:
    bins = (lives.length - 1) // BIN
    places = np.unique(bins)
    estimates = [Estimate.of(lives.late_return[bins == place]) for place in places]
    (line,) = axis.plot(lives.length, lives.late_return, ".", markersize=3, alpha=0.4)
    centres = [lives.length[bins == place].mean() for place in places]
    axis.errorbar(
        centres,
        _means(estimates),
        _errors(estimates),
        marker="o",
        markersize=4,
        capsize=2,
        color=line.get_color(),
        label=label,
    )


def _draw_by_arm(axis: Axes, probe: Probe) -> None:
    arms = sorted({lives[1:3] for lives in probe.chains if lives.prediction_cost > 0})
    for i, variant in enumerate(LABELS):
        found = [(place, probe.arm(variant, *arm)) for place, arm in enumerate(arms)]
        kept = [(place, lives.long_chains) for place, lives in found if lives is not None]
        if kept:
            estimates = [estimate for _, estimate in kept]
            axis.bar(
                [place + 0.4 * i for place, _ in kept],
                _means(estimates),
                0.38,
                yerr=_errors(estimates),
                capsize=2,
                label=LABELS[variant],
            )
    axis.set_xticks([place + 0.2 for place in range(len(arms))])
    axis.set_xticklabels([f"{alpha:g}, {cost:g}" for alpha, cost in arms], rotation=45, fontsize=8)
    axis.axhline(0.0, color="grey", linewidth=1)
    axis.set(
        xlabel="alpha, alpha_y",
        ylabel="late return",
        title=f"long, chains of L > {HORIZON}, by arm",
        ylim=(-1.1, 1.1),
    )
    axis.legend(fontsize=8)


def draw_targets(probe: Probe) -> Figure:
    """pi_hat and y_hat against one input at a time; a rule without y fills the first row only."""
    figure, axes = plt.subplots(3, 3, figsize=(14, 11))
    found = probe.responses
    _draw_lines(axes[0, 0], REWARDS, found.reward, ENDS)
    axes[0, 0].set(xlabel="reward of the step", ylabel="pi_hat", title="pi_hat and reward")
    rewards = ("reward -1", "reward 0", "reward 1")
    _draw_lines(axes[0, 1], probe.drift.p, found.probability, rewards)
    axes[0, 1].set(xlabel="pi(a|s) of the step", ylabel="pi_hat", title="pi_hat and pi")
    _draw_credit(axes[0, 2], found.credit, "pi_hat's change, last step = 1")
    axes[0, 2].plot(_steps_back(found.gae), found.gae / found.gae[-1], "k--", label="GAE")
    axes[0, 2].set_title(f"credit for a last reward of 1 (GAE: {GAE_LAMBDA:g}, {GAMMA:g})")
    axes[0, 2].legend(fontsize=8)
    if not len(found.own_y):
        for axis in axes[1:].flat:
            axis.set_axis_off()
        axes[1, 1].text(0.5, 0.5, "this rule has no predictions", ha="center")
        return figure
    _draw_predictions(figure, axes, found)
    axes[2, 2].set_axis_off()
    axes[2, 2].text(
        0.0,
        0.3,
        f"Asked of step {ASKED} of {HORIZON}, one change at a time.\nElsewhere no reward, no end, "
        "pi = 1/2, y uniform.\nCategories stand in the order of pi_hat\nunder the next state's y.",
        fontsize=10,
    )
    return figure


def _draw_predictions(figure: Figure, axes: Any, found: Responses) -> None:
    """The panels about y and y_hat, [3, 3] axes of which the first row is taken."""
    order = np.argsort(found.next_y)
    ranks = np.arange(len(order))
    for values, label in ((found.own_y, "of the state"), (found.next_y, "of the state after it")):
        axes[1, 0].plot(ranks, values[order], ".-", label=label)
    axes[1, 0].set(
        xlabel="category that y speaks for (in order)", ylabel="pi_hat", title="pi_hat and y"
    )
    axes[1, 0].legend(fontsize=8)
    for axis, y_hat, end in zip(axes[1, 1:], found.y_hat_reward, ENDS, strict=True):
        _draw_map(figure, axis, y_hat[:, order].T, (-1.0, 1.0), "reward of the step")
        axis.set_title(f"y_hat and reward, {end}")
    axis = axes[2, 0]
    _draw_map(
        figure,
        axis,
        found.y_hat_next_y[order][:, order].T,
        (0.0, len(order) - 1.0),
        "category that the next state's y speaks for",
    )
    axis.set_title("y_hat and the next y")
    _draw_credit(axes[2, 1], found.y_credit, "total variation of y_hat, last step = 1")
    axes[2, 1].set_title("y_hat, with and without that reward")
    axes[2, 1].legend(fontsize=8)


def _draw_lines(axis: Axes, x: np.ndarray, rows: np.ndarray, labels: tuple[str, ...]) -> None:
    for values, label in zip(rows, labels, strict=True):
        axis.plot(x, values, label=label)
    axis.axhline(0.0, color="grey", linewidth=1)
    axis.legend(fontsize=8)


def _draw_credit(axis: Axes, rows: np.ndarray, ylabel: str) -> None:
    for values, label in zip(rows, ("episode goes on", "ends there"), strict=True):
        scale = values[-1] if values[-1] else 1.0
        axis.plot(_steps_back(values), values / scale, ".-", label=label)
    axis.axhline(0.0, color="grey", linewidth=1)
    axis.set(xlabel="steps before the reward", ylabel=ylabel)


def _steps_back(values: np.ndarray) -> np.ndarray:
    return np.arange(len(values))[::-1]


def _draw_map(
    figure: Figure, axis: Axes, values: np.ndarray, span: tuple[float, float], xlabel: str
) -> None:
    extent = (span[0], span[1], -0.5, len(values) - 0.5)
    image = axis.imshow(values, aspect="auto", origin="lower", extent=extent, cmap="viridis")
    axis.set(xlabel=xlabel, ylabel="category of y_hat")
    figure.colorbar(image, ax=axis, label="y_hat")


def draw_drift(probe: Probe) -> Figure:
    """pi_hat without evidence, and the drift D(p) that it amounts to, over p."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
    p, pi_hat, drift = probe.drift
    left.plot(p, pi_hat)
    left.set(xlabel="pi(a|s) of the action taken", ylabel="pi_hat", title="pi_hat, no evidence")
    right.plot(p, drift)
    right.plot([0.7], [probe.drift.at(0.7)], "o", label=f"D(.7) = {probe.drift.at(0.7):.3f}")
    right.set(
        xlabel="p of one of two actions",
        ylabel="D(p): the logit's step / alpha",
        title="drift (> 0 beyond p = 1/2: to certainty)",
    )
    right.legend(fontsize=8)
    for axis in (left, right):
        axis.axhline(0.0, color="grey", linewidth=1)
    return figure


def draw_entropy(probe: Probe) -> Figure:
    """Policies' entropy over lives without reward, of the table and of the network."""
    figure, axis = plt.subplots(figsize=(5.5, 3.8))
    for found, label in ((probe.table, "table, long"), (probe.network, "D(64-64), CartPole-v1")):
        _draw_band(axis, found, label)
    axis.axhline(np.log(2), color="grey", linestyle=":", linewidth=1)
    axis.set(
        xlabel="updates without any reward",
        ylabel="policy's entropy (nats)",
        title="lives ±1 standard error; dotted: ln 2",
        ylim=(0.0, 0.75),
    )
    axis.legend(fontsize=8)
    return figure


def _draw_band(axis: Axes, found: RewardFree, label: str) -> None:
    estimates = [Estimate.of(row) for row in found.entropy]
    mean, error = np.array(_means(estimates)), np.array(_errors(estimates))
    (line,) = axis.plot(found.updates, mean, label=label)
    axis.fill_between(found.updates, mean - error, mean + error, alpha=0.25, color=line.get_color())


def _means(estimates: list[Estimate]) -> list[float]:
    return [np.nan if e.mean is None else e.mean for e in estimates]


def _errors(estimates: list[Estimate]) -> list[float]:
    return [e.standard_error or 0.0 for e in estimates]
