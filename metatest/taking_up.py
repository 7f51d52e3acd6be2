"""What a run directory holds is taken up by what made it; the same name alone is not enough."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from lpg.own import is_import_path, source_digest
from lpg.runs.resume import differing, keep_options, refuse_other_options
from metatest.agents import agent_file
from metatest.algorithms import Algorithm
from metatest.evaluate import Budget, plan
from metatest.report.results import folder_name, load_results
from metatest.saved import Saved
from metatest.tasks import TaskSpec


def kept_folder(run_dir: Path, algorithm: Algorithm, spec: TaskSpec, budget: Budget) -> Path:
    """Where the lives of `algorithm` on `spec` are kept; ValueError where other ones are."""
    path = _options_path(run_dir, algorithm, spec)
    path.parent.mkdir(parents=True, exist_ok=True)
    keep_options(path, lives_options(algorithm, spec, budget), upgrade=_upgrade)
    return path.parent


def refuse_other_lives(run_dir: Path, algorithm: Algorithm, spec: TaskSpec, budget: Budget) -> None:
    """ValueError where `kept_folder` would raise one; nothing is written."""
    path = _options_path(run_dir, algorithm, spec)
    refuse_other_options(path, lives_options(algorithm, spec, budget), upgrade=_upgrade)


def _upgrade(before: dict[str, Any]) -> dict[str, Any]:
    """Rewards were read as they are before there was a centre."""
    return {"reward_centre": 0.0} | before


def lives_options(algorithm: Algorithm, spec: TaskSpec, budget: Budget) -> dict[str, Any]:
    """All that makes the lives of `algorithm` on `spec` what they are."""
    options = {
        **asdict(budget),
        **plan(algorithm, spec, budget).settings._asdict(),
        "agent": spec.agent,
        "optimizer": spec.optimizer,
        "arms": [list(arm) for arm in algorithm.training.arms(spec)],
        "lag": algorithm.training.lag,
        **algorithm.version,
    }
    if is_import_path(spec.name):
        options["environment"] = source_digest(spec.name)
    return options


def refuse_lives_without_agents(
    run_dir: Path, algorithm: Algorithm, spec: TaskSpec, seeds: int
) -> None:
    """ValueError where lives are over whose agents nobody kept."""
    folder = _options_path(run_dir, algorithm, spec).parent / "report"
    files = [agent_file(run_dir, spec.name, algorithm.name, seed) for seed in range(seeds)]
    if folder.exists() and Saved(folder).finished() and not all(file.exists() for file in files):
        raise ValueError(
            f"The lives of {algorithm.name} on {spec.name} in {run_dir} are over, and their agents "
            "were not kept; --save-agents needs another --run-dir."
        )


def refuse_other_results(run_dir: Path, algorithms: list[Algorithm], *, atari: bool) -> None:
    """ValueError where results.jsonl, which reports pool by name, has some of another version of an
    algorithm, or cannot be read. On Atari versions are of their own: learned rules get a head."""
    if not (run_dir / "results.jsonl").exists():
        return
    for row in load_results(run_dir):
        for algorithm in algorithms:
            if row.algorithm != algorithm.name or (row.suite == "atari") != atari:
                continue
            if different := differing(row.version, algorithm.version):
                raise ValueError(
                    f"The results of {row.algorithm} on {row.env} in {run_dir} are another's: "
                    f"{different}; give the same values or choose another --run-dir."
                )


def _options_path(run_dir: Path, algorithm: Algorithm, spec: TaskSpec) -> Path:
    names = folder_name(spec.name), folder_name(algorithm.name)
    return run_dir.joinpath("lives", *names, "options.json")
