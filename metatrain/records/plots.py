"""Curves of a run as PNG, drawn from its `metrics.jsonl` alone."""

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from envs.suite import SUITE

FAMILIES = ("tabular_grid", "random_grid", "chain")


def draw_all(run_dir: Path) -> None:
    """Write returns.png, bandit.png, loss.png and, once there was a validation, validation.png;
    nothing where there is no log line yet."""
    records = log_lines(run_dir)
    if not records:
        return
    draw_returns(records, run_dir / "returns.png")
    draw_bandit(records, run_dir / "bandit.png")
    draw_loss(records, run_dir / "loss.png")
    draw_validation(records, run_dir / "validation.png")


def log_lines(run_dir: Path) -> list[dict[str, Any]]:
    """Of metrics.jsonl, oldest first."""
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


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
    """Late-life return, normalised from random (0) to best (1): environments thin, mean thick."""
    names = list(records[0]["environments"])
    families = [f for f in FAMILIES if any(SUITE[n].family == f for n in names if n in SUITE)]
    if not families:
        return  # worlds of the user's own have no reference to be normalised by
    figure, axes = plt.subplots(1, len(families), figsize=(5 * len(families), 4))
    steps = [record["meta_step"] for record in records]
    width = max(1, len(records) // 8)
    for axis, family in zip(np.atleast_1d(axes), families, strict=True):
        curves = []
        for name in (n for n in names if n in SUITE and SUITE[n].family == family):
            low, high = SUITE[name].return_range
            curves.append((series(records, name, "late_return") - low) / (high - low))
            axis.plot(steps, smooth(curves[-1], width), label=name, linewidth=1, alpha=0.6)
        axis.plot(
            steps, smooth(mean_of_curves(curves), width), label="mean", color="black", linewidth=2.5
        )
        axis.axhline(0, color="grey", linestyle=":", linewidth=1)
        axis.set(title=family, xlabel="meta-step", ylabel="late-life return (0 random, 1 best)")
        axis.legend(fontsize=8)
    _save(figure, path)


def draw_bandit(records: list[dict[str, Any]], path: Path) -> None:
    """Probability of every arm over meta-training, one panel an environment."""
    names = list(records[0]["environments"])
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.2 * columns, 2.6 * rows), squeeze=False, sharey=True
    )
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, names, strict=False):
        history = np.array([record["environments"][name]["bandit"] for record in records])
        axis.imshow(history.T, aspect="auto", origin="lower", vmin=0, vmax=history.max())
        axis.set_title(name, fontsize=9)
        axis.set(xlabel="log line", ylabel="arm")
    _save(figure, path)


def draw_loss(records: list[dict[str, Any]], path: Path) -> None:
    """The outer loss's parts and the meta-gradient's norm."""
    parts = {name: [r["loss"][name] for r in records] for name in records[-1]["loss"]}
    parts["meta-gradient norm"] = [r["gradient_norm"] for r in records]
    parts["skipped meta-gradients (total)"] = np.cumsum([r["skipped"] for r in records]).tolist()
    columns = -(-len(parts) // 2)
    figure, axes = plt.subplots(2, columns, figsize=(3.5 * columns, 6))
    for axis in axes.flat[len(parts) :]:
        axis.set_axis_off()
    steps = [record["meta_step"] for record in records]
    for axis, (name, values) in zip(axes.flat, parts.items(), strict=False):
        axis.plot(steps, [np.nan if v is None else v for v in values])
        axis.set(title=name, xlabel="meta-step")
    _save(figure, path)


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
    steps = [record["meta_step"] for record in validated]
    figure, axes = plt.subplots(2, 3, figsize=(15, 8))
    for axis, (field, title) in zip(axes.flat, VALIDATION_PANELS, strict=True):
        for name in validated[0]["validation"]["environments"]:
            values = [r["validation"]["environments"][name][field] for r in validated]
            if any(v is not None for v in values):
                axis.plot(steps, [np.nan if v is None else v for v in values], label=name)
        axis.set(title=title, xlabel="meta-step")
    first = axes.flat[0]
    score = [record["validation"]["score"] for record in validated]
    first.plot(steps, score, color="black", linewidth=2.5, label="mean")
    best = validated[-1]["validation"]["best_meta_step"]
    first.axvline(best, color="grey", linestyle=":", label="exported")
    first.legend(fontsize=7, ncols=2)
    _save(figure, path)
