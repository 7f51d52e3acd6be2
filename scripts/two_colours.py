"""Two colours: how fast DrMG, QR and MG recover when the keys exchange their worths.

    python scripts/two_colours.py --output docs/two_colours
    python scripts/two_colours.py --quick --output runs/two_colours

The figure of `Distributional meta-gradients` (2022), section 5.1: returns over 10^6 steps in which
the keys' worths change every 10^5, and the mean over the exchanges of what comes around each. Left
in OUTPUT: curves.json (returns by algorithm, point and seed), two_colours.png and .pdf,
summary.json. `lost` is the area between the return before an exchange (mean of the last 2 10^4
steps) and that in the first 2 10^4 steps after it, in units of return x steps, per exchange.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from rich.console import Console

from lpg.runs import figures
from lpg.runs.command import enable_compilation_cache, progress
from metatest.algorithms import AlgorithmOptions, choose
from metatest.evaluate import Budget, make_task, plan
from metatest.family import TuningOptions
from metatest.tasks import find_task
from metatest.train_agent import train

NAMES = {"drmg": "DrMG", "qr": "QR", "mgrl[embedded=False]": "MG"}
SWAP, WINDOW = 100_000, 20_000  # environment steps


@dataclass(frozen=True)
class Study:
    """Train all, then draw."""

    output: Path
    seeds: int = 10
    steps: int = 1_000_000
    learning_rate: float = 2e-3
    """Constant. With IMPALA's own, 6e-4 and an epsilon of 0.1, nothing is learned in 10^6 steps."""
    epsilon: float = 1e-5
    """RMSProp's."""
    quick: bool = False
    """Two seeds, 3 10^5 steps."""
    algorithms: tuple[str, ...] = tuple(NAMES)


def main() -> None:
    study = tyro.cli(Study)
    if study.quick:
        study = replace(study, seeds=2, steps=300_000)
    study.output.mkdir(parents=True, exist_ok=True)
    enable_compilation_cache()
    path = study.output / "curves.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    with progress(Console()) as shown:
        for name in study.algorithms:
            if name not in found:
                found[name] = live(study, name, shown)
                path.write_text(json.dumps(found))
    summary = {name: summarise(curve) for name, curve in found.items()}
    (study.output / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    draw(found, study.output / "two_colours.png")
    for name, row in summary.items():
        print(name, row)


def live(study: Study, name: str, shown: Any) -> dict[str, Any]:
    """Returns [P][S] and the points' environment steps."""
    tuning = TuningOptions(
        learning_rates=(study.learning_rate,), epsilon=study.epsilon, constant_rate=True
    )
    (algorithm,) = choose((name,), AlgorithmOptions(tuning=tuning))
    spec, budget = find_task("two_colours"), Budget(steps=study.steps, num_steps=16)
    task, planned = make_task(algorithm, spec, budget), plan(algorithm, spec, budget)
    bar = shown.add_task(name, total=planned.updates)
    every = np.ones(study.seeds)
    curve = train(
        task,
        jax.random.key(0),
        study.learning_rate * every,
        0.0 * every,
        planned.settings.gamma,
        planned.updates,
        num_points=study.steps // 2048,
        on_progress=lambda n: shown.advance(bar, n),
    )
    steps = curve.updates * planned.steps_per_update
    return {
        "steps": steps.tolist(),
        "returns": [
            [None if np.isnan(x) else float(x) for x in row] for row in curve.episode_return
        ],
        "traces": {k: v.mean(axis=1).tolist() for k, v in curve.traces.items()},
    }


def arrays(curve: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Steps [P] and returns [P, S]."""
    returns = [[np.nan if x is None else x for x in row] for row in curve["returns"]]
    return np.array(curve["steps"]), np.array(returns, float)


def around(curve: dict[str, Any]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per exchange that two windows follow: steps since it, from one before, and returns there."""
    steps, returns = arrays(curve)
    pieces = []
    for swap in range(SWAP, int(steps[-1]) - 2 * WINDOW + 1, SWAP):
        near = (steps > swap - WINDOW) & (steps <= swap + 2 * WINDOW)
        pieces.append((steps[near] - swap, returns[near]))
    return pieces


def summarise(curve: dict[str, Any]) -> dict[str, float]:
    """Means over exchanges and seeds, with standard errors over seeds."""
    lost, peaks = [], []
    for since, returns in around(curve):
        before = np.nanmean(returns[since <= 0], axis=0)
        after = returns[(since > 0) & (since <= WINDOW)]
        lost.append(np.nanmean(before - after, axis=0) * WINDOW)
        peaks.append(before)
    lost_by_seed, peak_by_seed = np.mean(lost, axis=0), np.mean(peaks, axis=0)
    steps, returns = arrays(curve)
    last = np.nanmean(returns[steps > steps[-1] - WINDOW], axis=0)

    def figure(values: np.ndarray, name: str) -> dict[str, float]:
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        return {name: float(values.mean()), f"{name}_error": float(error)}

    whole = np.nanmean(returns, axis=0)
    return (
        figure(lost_by_seed, "lost")
        | figure(peak_by_seed, "before_exchange")
        | figure(last, "last")
        | figure(whole, "mean")
    )


def draw(found: dict[str, Any], path: Path) -> None:
    """Whole lives, and what comes around an exchange."""
    with figures.panels(path, 2, 2, (6.0, 4.0)) as (figure, (whole, near)):
        lines = {}
        for (name, curve), look in zip(found.items(), figures.LOOKS, strict=False):
            steps, returns = arrays(curve)
            lines[NAMES.get(name, name)] = draw_band(whole, steps, returns, look)
            pieces = around(curve)
            length = min(len(since) for since, _ in pieces)
            stacked = np.nanmean([piece[:length] for _, piece in pieces], axis=0)
            draw_band(near, pieces[0][0][:length], stacked, look)
        for swap in range(SWAP, int(steps[-1]), SWAP):
            whole.axvline(swap, color="grey", linestyle=":", linewidth=0.8)
        near.axvline(0, color="grey", linestyle=":", linewidth=0.8)
        whole.set(xlabel="environment steps", ylabel="return")
        figures.title(whole, "keys exchange at the dotted lines")
        near.set(xlabel="steps since an exchange", title="mean over exchanges")
        figures.legend(figure, lines)


def draw_band(axis: Axes, steps: np.ndarray, returns: np.ndarray, look: figures.Look) -> Artist:
    """Mean and standard error over seeds [P, S]; the line."""
    mean, spread = band(returns)
    (line,) = axis.plot(steps, mean, linewidth=1, **look)
    axis.fill_between(steps, mean - spread, mean + spread, alpha=0.2, color=look["color"])
    return line


def band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error over seeds [P, S]."""
    error = np.nanstd(values, axis=1) / np.sqrt(max(1, values.shape[1] - 1))
    return np.nanmean(values, axis=1), error


if __name__ == "__main__":
    main()
