"""The command `metatest probe`: does a rule bootstrap, and does it keep still without evidence?"""

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lpg.files.storage import RuleFile, digest, load_rule, write_atomically
from lpg.learner import FrozenRule
from lpg.precision import Precision
from lpg.runs.command import enable_compilation_cache, progress
from lpg.runs.streams import fail
from lpg.runs.tables import print_table
from metatest.algorithms import learned
from metatest.probe.lives import has_predictions
from metatest.probe.plots import draw_all
from metatest.probe.probe import probe
from metatest.probe.protocol import (
    FULL,
    GAMMA,
    HEADLINE_ARM,
    HORIZON,
    NETWORK_ARM,
    QUICK,
    ProbeProtocol,
)
from metatest.probe.results import Probe
from metatest.report.run_record import read_record, write_record

MEANINGS = {
    "long_chains_intact": "late return, L > 20",
    "long_chains_y_cut": "  with y cut",
    "long_chains_alpha_y_0": "  with alpha_y = 0",
    "short_chains_intact": "late return, L <= 20",
    "short_chains_y_cut": "  with y cut",
    "short_chains_alpha_y_0": "  with alpha_y = 0",
    "collapsed_lives": "share of lives that collapsed",
    "prediction_information": "ln m - mean H(y), end of life",
    "sparse_intact": "late return on sparse",
    "sparse_y_cut": "  with y cut",
    "reward_free_entropy_table": "entropy without reward, table",
    "reward_free_entropy_network": "  D(64-64) on CartPole-v1",
}


@dataclass(frozen=True)
class ProbeCommand:
    """Measure on fresh agents whether a rule uses its predictions, and what it does unrewarded.

    Writes probe.json and four pictures, each as PNG and PDF.
    """

    rule: str
    """A .safetensors file that metatrain wrote, or the name of a shipped rule."""
    run_dir: Path
    """Where probe.json, chains.png, targets.png, drift.png and entropy.png go."""
    quick: bool = False
    """Fewer lives for all but the chains at alpha 40, alpha_y 0.5."""
    seed: int = 0
    """Of every random draw."""
    precision: Precision = "auto"
    """Of the rule's LSTM; auto is bfloat16 on GPU and TPU, float32 on CPU."""


def main(arguments: list[str]) -> int:
    """The exit code: 0 done, 2 a rule or a directory that cannot be used, 1 no room for results."""
    command = tyro.cli(ProbeCommand, args=arguments, prog="metatest probe")
    console = Console()
    try:
        protocol = replace(QUICK if command.quick else FULL, seed=command.seed)
        file = load_rule(command.rule)
        probed = learned(command.rule, file, False, command.precision)
        refuse_other(command.run_dir, file)
    except ValueError as error:
        return fail("metatest probe", error, 2)
    enable_compilation_cache()
    try:
        command.run_dir.mkdir(parents=True, exist_ok=True)
        words = ["metatest", "probe", *arguments]
        write_record(command.run_dir, words, command.rule, file)
        record, begun = read_record(command.run_dir), time.perf_counter()
        found = _probe(probed, command.rule, protocol, console)
        settings = {
            "quick": command.quick,
            **asdict(protocol),
            "num_steps": HORIZON,
            "gamma": GAMMA,
            "table_arm": HEADLINE_ARM,
            "network_arm": NETWORK_ARM,
            "precision": command.precision,
            "device": record["device"],
            "seconds": round(time.perf_counter() - begun, 1),
        }
        numbers = {**found.to_json(), "protocol": settings, "rule": record["rule"]}
        text = json.dumps(numbers, indent=1) + "\n"
        write_atomically(command.run_dir / "probe.json", text.encode())
        draw_all(found, command.run_dir)
    except OSError as error:
        where = f"Cannot write to {command.run_dir} ({error.strerror})"
        return fail("metatest probe", f"{where}; choose another --run-dir.", 1)
    print_table(as_table(found, command.rule))
    print(f"Probe: {command.run_dir / 'probe.json'}")
    return 0


def refuse_other(run_dir: Path, rule: RuleFile) -> None:
    """ValueError where the directory holds what was found of another rule, or a meta-test."""
    if (run_dir / "results.jsonl").exists():
        raise ValueError(f"{run_dir} holds a meta-test; give the probe a --run-dir of its own.")
    before = read_record(run_dir).get("rule", {}).get("sha256")
    if before not in (None, digest(rule)):
        raise ValueError(
            f"{run_dir} holds a probe of another rule (sha256 {before} -> {digest(rule)}); choose "
            "another --run-dir."
        )


def _probe(probed: FrozenRule, name: str, protocol: ProbeProtocol, console: Console) -> Probe:
    with progress(console) as shown:
        total = protocol.total_updates(has_predictions(probed))
        bar = shown.add_task(f"probing {name}", total=total)
        return probe(probed, protocol, lambda n: shown.advance(bar, n))


def as_table(found: Probe, name: str) -> Table:
    """The headlines that were measured, and what a rule answers without evidence."""
    table = Table(title=Text(f"Probe of {name}"))
    table.add_column("", overflow="fold")
    for heading in ("mean ± s.e.", "lives"):
        table.add_column(heading, justify="right", no_wrap=True)
    for headline, estimate in found.headlines().items():
        if estimate is not None and estimate.mean is not None:
            error = estimate.standard_error
            shown = f"{estimate.mean:.3f}" + ("" if error is None else f" ±{error:.3f}")
            table.add_row(MEANINGS[headline], shown, str(estimate.lives))
    table.add_row("drift D(.7)", f"{found.drift.at(0.7):.3f}", "")
    table.add_row("pi_hat without evidence, rms", f"{found.no_evidence.pi_hat_rms:.3f}", "")
    table.add_row("  largest size", f"{found.no_evidence.pi_hat_max:.3f}", "")
    return table
