"""Meta-train a variant over several seeds, probe each rule, and keep a line of figures of each.

    python scripts/experiment.py run weight-.3 --seeds 0 1 -- --preset quick --unearned-cost 0.3
    python scripts/experiment.py table docs/experiments.jsonl

`run` appends to docs/experiments.jsonl; seeds that are there under the same name and arguments are
not run again. `table` prints the lines as the tables of docs/experiments.md, one row a seed.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

ARMS = ((40.0, 0.5), (80.0, 0.1), (20.0, 1.0), (40.0, 0.1))  # of `long`, as a probe has them


@dataclass(frozen=True)
class Run:
    """Meta-train and probe; what follows -- goes to metatrain."""

    name: tyro.conf.Positional[str]
    """What the variant is called in the table."""
    seeds: tuple[int, ...] = (0, 1, 2, 3)
    log: Path = Path("docs/experiments.jsonl")
    runs: Path = Path("runs/experiments")
    """Where run directories go."""


@dataclass(frozen=True)
class Table:
    """The lines of a log as a table."""

    log: tyro.conf.Positional[Path]


def main() -> None:
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    command = tyro.cli(Run | Table, args=sys.argv[1:cut])  # type: ignore[arg-type]
    if isinstance(command, Table):
        print(table(read(command.log)))
        return
    for seed in command.seeds:
        arguments = sys.argv[cut + 1 :]
        done = [(x["name"], x["arguments"], x["seed"]) for x in read(command.log)]
        if (command.name, arguments, seed) not in done:
            line = run(command, arguments, seed)
            with command.log.open("a") as file:
                file.write(json.dumps(line) + "\n")


def read(log: Path) -> list[dict[str, Any]]:
    return [json.loads(x) for x in log.read_text().splitlines()] if log.exists() else []


def run(command: Run, arguments: list[str], seed: int) -> dict[str, Any]:
    run_dir = command.runs / f"{command.name.replace(' ', '_')}-{seed}"
    seeded = [*arguments, "--seed", str(seed), "--run-dir", str(run_dir)]
    _call("metatrain", *seeded)
    rule = str(run_dir / "rule.safetensors")
    probe_dir = run_dir / "probe"
    _call("metatest", "probe", "--rule", rule, "--run-dir", str(probe_dir), "--quick")
    records = read(run_dir / "metrics.jsonl")
    found = json.loads((probe_dir / "probe.json").read_text())
    line = {"name": command.name, "arguments": arguments, "seed": seed}
    return line | figures(found) | from_metrics(records)


def _call(module: str, *arguments: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-m", module, *arguments], check=True, env=environment)


def figures(found: dict[str, Any]) -> dict[str, Any]:
    """What the table shows of a probe.json."""
    intact = {
        (x["learning_rate"], x["prediction_cost"]): x
        for x in found["chains"]
        if x["variant"] == "intact"
    }
    return {
        "long_by_arm": [intact[arm]["long_chains"]["mean"] for arm in ARMS],
        "collapsed_by_arm": [intact[arm]["collapsed"]["mean"] for arm in ARMS],
        "long_y_cut": found["long_chains_y_cut"],
        "short": found["short_chains_intact"],
        "information": intact[ARMS[0]]["prediction_information"]["mean"],
        "reward_free_table": found["reward_free_entropy_table"],
        "reward_free_network": found["reward_free_entropy_network"],
        "drift": found["drift"],
    }


def from_metrics(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Seconds of meta-training, and what the validations said."""
    validations = [x["validation"] for x in records if "validation" in x]
    seconds = sum(x["seconds"] for x in records) + sum(x["seconds"] for x in validations)
    best = validations[-1] if validations else {"best_score": None, "best_meta_step": None}
    return {
        "meta_steps": records[-1]["meta_step"],
        "seconds": round(seconds),
        "validation": best["best_score"],
        "exported": best["best_meta_step"],
    }


def table(lines: list[dict[str, Any]]) -> str:
    """One row a variant and seed."""
    rows = [
        "| variant | seed | L > 20 by arm | y cut | collapsed by arm | ln m − H(y) "
        "| reward-free entropy, table / network | D(.7) | exported |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for x in lines:
        rows.append(
            f"| {x['name']} | {x['seed']} | {_slashed(x['long_by_arm'])} "
            f"| {_figure(x['long_y_cut'])} | {_slashed(x['collapsed_by_arm'])} "
            f"| {_figure(x['information'])} "
            f"| {_slashed([x['reward_free_table'], x['reward_free_network']])} "
            f"| {x['drift']:.3f} | {x['exported']} of {x['meta_steps']} |"
        )
    return "\n".join(rows)


def _slashed(values: list[float | None]) -> str:
    return " / ".join(map(_figure, values))


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
