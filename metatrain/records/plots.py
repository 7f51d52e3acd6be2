"""Curves of a run, drawn from its `metrics.jsonl`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist

from envs.suite import SUITE
from lpg.runs import figures

FAMILIES = ("tabular_grid", "random_grid", "chain")
MEAN: dict[str, Any] = {"color": "black", "linestyle": "-", "linewidth": 2.5}
Arms = dict[str, list[str]]  # by environment, as figures name them


def draw_all(run_dir: Path, arms: Arms) -> None:
    """Write returns.png, bandit.png, loss.png and, once there was a validation, validation.png,
    each also as PDF; nothing where there is no log line yet."""
    records = log_lines(run_dir)
    if not records:
        return
    draw_returns(records, run_dir / "returns.png")
    draw_bandit(records, arms, run_dir / "bandit.png")
    draw_loss(records, run_dir / "loss.png")
    draw_validation(records, run_dir / "validation.png")


def log_lines(run_dir: Path) -> list[dict[str, Any]]:
    """Of metrics.jsonl, oldest first."""
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def series(records: list[dict[str, Any]], name: str, field: str) -> np.ndarray:
    """One environment's figure, log line by log line; NaN where there is none."""
    values = [record["environments"][name][field] for record in records]
    return np.array([np.nan if v is None else v for v in values], float)


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Centred mean over `width` log lines, at least one, of those that are there."""
    width = max(1, width)
    ends = width // 2, (width - 1) // 2
    padded = np.pad(values, ends, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, width)
    present = ~np.isnan(windows)
    total = np.where(present, windows, 0.0).sum(axis=1)
    return np.where(present.any(axis=1), total / np.maximum(present.sum(axis=1), 1), np.nan)


def mean_of_curves(curves: list[np.ndarray]) -> np.ndarray:
    """Mean over environments, log line by log line, of those that are there."""
    stacked = np.stack(curves)
    present = ~np.isnan(stacked)
    total = np.where(present, stacked, 0.0).sum(axis=0)
    return np.where(present.any(axis=0), total / np.maximum(present.sum(axis=0), 1), np.nan)


def draw_returns(records: list[dict[str, Any]], path: Path) -> None:
    """Late-life return, normalised from random (0) to best (1): environments thin, mean thick.

    Those that are not of the suite, whose best nobody knows, have a panel of returns as they are.
    """
    panels = families(list(records[0]["environments"]))
    steps = meta_steps(records)
    width = max(1, len(records) // 8)
    with figures.panels(path, len(panels), len(FAMILIES), (5.0, 4.0)) as (_, axes):
        for axis, (family, names) in zip(axes, panels.items(), strict=True):
            lines: dict[str, Artist] = {}
            curves = []
            for name, look in figures.looks(names).items():
                curves.append(normalised(name, series(records, name, "late_return")))
                (lines[name],) = axis.plot(steps, smooth(curves[-1], width), linewidth=1, **look)
            label = "late-life return"
            if family in FAMILIES:
                label = "late-life return (0 random, 1 best)"
                (lines["mean"],) = axis.plot(steps, smooth(mean_of_curves(curves), width), **MEAN)
                axis.axhline(0, color="grey", linestyle=":", linewidth=1)
            axis.set(title=family, xlabel="meta-step", ylabel=label)
            figures.legend(axis, lines)


def families(names: list[str]) -> dict[str, list[str]]:
    """Environments by family, the suite's in its order, then "other" ones."""
    found = {f: [n for n in names if n in SUITE and SUITE[n].family == f] for f in FAMILIES}
    found["other"] = [n for n in names if n not in SUITE]
    return {family: own for family, own in found.items() if own}


def normalised(name: str, returns: np.ndarray) -> np.ndarray:
    """From random (0) to best (1) on the suite, as they are elsewhere."""
    if name not in SUITE:
        return returns
    low, high = SUITE[name].return_range
    return (returns - low) / (high - low)


def meta_steps(records: list[dict[str, Any]]) -> list[int]:
    """At which the log lines end."""
    return [record["meta_step"] for record in records]


def draw_bandit(records: list[dict[str, Any]], arms: Arms, path: Path) -> None:
    """Probability of every arm over meta-training, one panel an environment."""
    names = list(records[0]["environments"])
    history = {n: np.array([r["environments"][n]["bandit"] for r in records]).T for n in names}
    edges, most = [0, *meta_steps(records)], max(x.max() for x in history.values())
    with figures.panels(path, len(names), 5, (3.4, 2.9)) as (figure, axes):
        for axis, (name, shown) in zip(axes, history.items(), strict=True):
            places = np.arange(len(shown) + 1) - 0.5
            colours = axis.pcolormesh(edges, places, shown, vmin=0, vmax=most, rasterized=True)
            axis.set_yticks(range(len(shown)), arms[name], fontsize=7)
            figures.title(axis, name)
        figure.colorbar(colours, ax=axes, label="probability of the arm", aspect=40)
        figure.supxlabel("meta-step", fontsize=9)
        figure.supylabel("arm: learning rate, α_y", fontsize=9)


def draw_loss(records: list[dict[str, Any]], path: Path) -> None:
    """The outer loss's parts and the meta-gradient's norm."""
    parts = {name: [r["loss"][name] for r in records] for name in records[-1]["loss"]}
    parts["meta-gradient norm"] = [r["gradient_norm"] for r in records]
    parts["skipped meta-gradients (total)"] = np.cumsum([r["skipped"] for r in records]).tolist()
    with figures.panels(path, len(parts), -(-len(parts) // 2), (3.5, 2.9)) as (_, axes):
        for axis, (name, values) in zip(axes, parts.items(), strict=True):
            axis.plot(meta_steps(records), [np.nan if v is None else v for v in values])
            axis.set(xlabel="meta-step")
            figures.title(axis, name)


VALIDATION_PANELS = (
    ("return", "return, mean of all arms (0 random, 1 best)"),
    ("return_beyond", "the same, episodes longer than a trajectory"),
    ("prediction_information", "ln m - H(y), nats"),
    ("policy_entropy", "entropy of the policy at the end, nats"),
    ("reward_free_entropy", "the same, where nothing was earned"),
    ("collapsed", "share of lives that gave up the right action"),
)


def draw_validation(records: list[dict[str, Any]], path: Path) -> None:
    """Fresh lives under the frozen rule: every environment's figures, the score and its best."""
    validated = [record for record in records if "validation" in record]
    if not validated:
        return
    steps = meta_steps(validated)
    looks = figures.looks(validated[0]["validation"]["environments"])
    entries = figures.samples(looks)
    with figures.panels(path, len(VALIDATION_PANELS), 3, (5.0, 3.8)) as (figure, axes):
        for axis, (field, title) in zip(axes, VALIDATION_PANELS, strict=True):
            for name, look in looks.items():
                values = [r["validation"]["environments"][name][field] for r in validated]
                if any(v is not None for v in values):
                    axis.plot(steps, [np.nan if v is None else v for v in values], **look)
            axis.set(xlabel="meta-step")
            figures.title(axis, title)
        score = [record["validation"]["score"] for record in validated]
        (entries["mean"],) = axes[0].plot(steps, score, **MEAN)
        best = validated[-1]["validation"]["best_meta_step"]
        entries["exported"] = axes[0].axvline(best, color="grey", linestyle=":")
        figures.legend(figure, entries)
