"""Studies of agents that tune themselves, on MinAtar's games (Zahavy et al. 2020, Figs. 2 to 8).

    python scripts/tuning_studies.py ladder --run-dir runs/ladder --quick
    python scripts/tuning_studies.py ladder --run-dir runs/ladder
    python scripts/tuning_studies.py ladder --run-dir runs/a --also runs/b      # draw both as one

agents: IMPALA, MGRL, STAC, STACX, DrMG and their relatives. ladder: STAC and STACX with more and
more of eta live. discount, value_cost: IMPALA and STACX at five values of what they are given.
birth: STACX whose eta starts elsewhere. off_policy: V-trace, STAC without and with alpha, acting
parameters 1, 4 and 16 updates old.

A study is one `metatest` command, printed first, and a figure of what it finds: stopped, it goes on
where it was, and with `--envs` it is split over machines. Left in RUN_DIR beside metatest's report:
study.png and study.json. A score is (return - random) / (IMPALA's - random), IMPALA as the study
has it by default; bars are medians over the games on which that one is better than chance, whiskers
95% bootstrap intervals over seeds.
"""

import json
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from lpg.rules.stac import ALL
from lpg.runs.figures import legend, looks, panels, title
from metatest import cli
from metatest.report.results import Result, load_results
from metatest.report.statistics import Interval, interval, scores, standard_error

GAMES = ("Asterix-MinAtar", "Breakout-MinAtar", "Freeway-MinAtar", "SpaceInvaders-MinAtar")
IMPALA = "impala"
Bars = dict[str, dict[str, str]]  # by group and by colour, the algorithm's name

WITHOUT_ALPHA = ",".join(name for name in ALL if name != "alpha")
RUNGS = {
    "nothing": "[]",
    "γ": "[gamma]",
    "γ, λ": "[gamma,lam]",
    "γ, λ, g": f"[{WITHOUT_ALPHA}]",
    "all six": "",
}
DISCOUNTS = (0.99, 0.992, 0.995, 0.997, 0.999)
VALUE_COSTS = (0.0625, 0.125, 0.25, 0.5, 1.0)
LAGS = (1, 4, 16)

STUDIES: dict[str, Bars] = {
    "agents": {
        "A2C": {"": "a2c"},
        "IMPALA γ .99": {"": "impala[gamma=.99]"},
        "IMPALA": {"": IMPALA},
        "IMPALA γ .998": {"": "impala[gamma=.998]"},
        "MGRL γ": {"": "mgrl[gamma]"},
        "MGRL γ, λ": {"": "mgrl"},
        "without embedding": {"": "mgrl[embedded=False]"},
        "STAC": {"": "stac"},
        "heads, η fixed": {"": "stacx[]"},
        "STACX": {"": "stacx"},
        "clip too": {"": f"stacx[{','.join(ALL)},clip]"},
        "QR": {"": "qr"},
        "DrMG": {"": "drmg"},
    },
    "ladder": {
        rung: {"STAC": f"stac{live}", "STACX": f"stacx{live}"} for rung, live in RUNGS.items()
    },
    "discount": {
        f"{x:g}": {"IMPALA": f"impala[gamma={x:g}]", "STACX": f"stacx[gamma={x:g}]"}
        for x in DISCOUNTS
    },
    "value_cost": {
        f"{x:g}": {"IMPALA": f"impala[value_cost={x:g}]", "STACX": f"stacx[value_cost={x:g}]"}
        for x in VALUE_COSTS
    },
    "birth": {
        f"{x:g}": {
            "γ starts there": f"stacx[start_gamma={x:g}]",
            "all of η does": f"stacx[start_gamma={x:g},start={x:g}]",
        }
        for x in DISCOUNTS
    },
    "off_policy": {
        f"{n} old": {
            "V-trace": f"impala[lag={n}]",
            "STAC, α fixed": f"stac[{WITHOUT_ALPHA},lag={n}]",
            "STAC": f"stac[lag={n}]",
        }
        for n in LAGS
    },
}


@dataclass(frozen=True)
class Study:
    """Play what is missing, then draw."""

    study: tyro.conf.Positional[
        Literal["agents", "ladder", "discount", "value_cost", "birth", "off_policy"]
    ]
    run_dir: Path
    also: tuple[Path, ...] = ()
    """Run directories with other games of the same study; then nothing is played."""
    envs: tuple[str, ...] = GAMES
    seeds: int = 5
    steps: int = 5_000_000
    """Of each agent; MinAtar's own paper has 5M frames."""
    learning_rate: float = 2e-2
    """RMSProp's, for all, the best of 2, 6 and 20 10^-3 for IMPALA on Breakout; A2C's Adam has its
    own below."""
    a2c_rate: float = 2e-3
    epsilon: float = 0.1
    """RMSProp's."""
    quick: bool = False
    """Two seeds, 40,000 steps, Breakout alone."""


def main() -> None:
    study = tyro.cli(Study)
    if study.quick:
        study = replace(study, seeds=2, steps=40_000, envs=GAMES[1:2])
    bars = STUDIES[study.study]
    if not study.also:
        play(study, list(dict.fromkeys([IMPALA, *names(bars)])))
    results = [x for path in (study.run_dir, *study.also) for x in load_results(path)]
    found = figures(bars, by_name(results))
    (study.run_dir / "study.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(study.study, found, study.run_dir / "study.png")
    for row in found:
        print(row["group"], row["series"], {k: row[k] for k in ("median", "games")})


def play(study: Study, algorithms: list[str]) -> None:
    """metatest's own main, with one arm for each, chosen beforehand."""
    first, *others = algorithms
    arguments = ["metatest", "--rule", first, "--baselines", *others, "--envs", *study.envs]
    arguments += ["--run-dir", str(study.run_dir), "--seeds", str(study.seeds)]
    arguments += ["--steps", str(study.steps), "--tuning.epsilon", str(study.epsilon)]
    arguments += ["--tuning.learning-rates", str(study.learning_rate)]
    if "a2c" in algorithms:
        arguments += ["--learning-rates", str(study.a2c_rate), "--prediction-costs", "0.5"]
    print(shlex.join(arguments))
    sys.argv = arguments
    cli.main()


def names(bars: Bars) -> list[str]:
    """Of all algorithms."""
    return [name for group in bars.values() for name in group.values()]


def by_name(results: list[Result]) -> dict[str, dict[str, Result]]:
    """By algorithm and by game."""
    found: dict[str, dict[str, Result]] = {}
    for result in results:
        found.setdefault(result.algorithm, {})[result.env] = result
    return found


def figures(bars: Bars, results: dict[str, dict[str, Result]]) -> list[dict]:
    """A row for every bar whose games are all played."""
    rows, base = [], {env: x for env, x in results[IMPALA].items() if above_chance(x)}
    for group, series in bars.items():
        for colour, name in series.items():
            own = results.get(name, {})
            if not base or not base.keys() <= own.keys():
                continue
            shares = [share(own[env], base[env]) for env in base]
            middle = median(shares)
            games = {env: round(float(x.mean()), 3) for env, x in zip(base, shares, strict=True)}
            returns = {env: returned(own[env]) for env in base}
            rows.append(
                {
                    "group": group,
                    "series": colour,
                    "algorithm": name,
                    "median": [middle.value, middle.low, middle.high],
                    "games": games,
                    "returns": returns,
                }
            )
    return rows


def above_chance(result: Result) -> bool:
    """Whether there is anything to be a share of."""
    return scores(result)[1].mean() > (result.random_return or 0.0)


def share(result: Result, base: Result) -> np.ndarray:
    """[S] of what IMPALA is better than chance by."""
    chance = result.random_return or 0.0
    return (scores(result)[1] - chance) / (scores(base)[1].mean() - chance)


def returned(result: Result) -> list[float | None]:
    """Mean return and its standard error, None for a single seed."""
    values = scores(result)[1]
    return [float(values.mean()), standard_error(values)]


def median(shares: list[np.ndarray]) -> Interval:
    """Over games, of means over seeds, which are resampled within each game."""

    def statistic(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.median([sample.mean(axis=axis) for sample in samples], axis=0)

    return interval(*shares, statistic=statistic)


def draw(study: str, rows: list[dict], path: Path) -> None:
    """Grouped bars: medians over games, and each game's mean as a point."""
    groups = list(dict.fromkeys(row["group"] for row in rows))
    series = looks(row["series"] for row in rows)
    width = 0.8 / max(1, len(series))
    size = max(6.0, 1.1 * len(groups) * len(series)), 4.0
    with panels(path, 1, 1, size) as (_, (axis,)):
        bars = {}
        for i, (name, look) in enumerate(series.items()):
            own = [row for row in rows if row["series"] == name]
            x = np.array([groups.index(row["group"]) for row in own]) + (i + 0.5) * width - 0.4
            value, low, high = (
                np.array([row["median"][k] for row in own], float) for k in range(3)
            )
            spread = np.nan_to_num(np.stack([value - low, high - value]))
            bars[name] = axis.bar(x, value, width, yerr=spread, capsize=3, color=look["color"])[0]
            for at, row in zip(x, own, strict=True):
                games = list(row["games"].values())
                axis.plot([at] * len(games), games, ".", color="black", markersize=4)
        axis.axhline(1.0, color="grey", linestyle=":", linewidth=0.8)
        axis.set_xticks(range(len(groups)), groups, rotation=20 if len(groups) > 6 else 0)
        axis.set(ylabel="score / IMPALA's")
        title(axis, study)
        legend(axis, {name: bar for name, bar in bars.items() if name})


if __name__ == "__main__":
    main()
