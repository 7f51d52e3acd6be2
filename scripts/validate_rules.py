"""Which of a run's rule files is best: fresh lives under each, as metatrain validates.

    python scripts/validate_rules.py runs/lent/rules --output chosen.json -- --preset paper

What follows -- goes to metatrain, whose fields say which environments, and how many lives of what
length (`--validation-seeds`, `--validation-updates`). Rules are taken from the last to the first
until the time is up. Writes a JSON line a rule, and prints the mean over environments.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from lpg.runs.command import enable_compilation_cache
from lpg.runs.streams import fail
from metatrain.cli import parse
from metatrain.cohort import build_cohorts
from metatrain.initial_rule import params_of
from metatrain.validation import Validation


@dataclass(frozen=True)
class Choice:
    """Validate rules of one architecture; what follows -- goes to metatrain."""

    rules: tyro.conf.Positional[Path]
    """A folder of rule files, named in the order of their meta-steps."""
    output: Path
    """JSON lines: file, score, environments, seconds."""
    every: int = 1
    """Only each so many of them, the last one first."""
    wait_for: Path | None = None
    """A file whose appearance says that the device is free and the rules are there."""
    until: float = float("inf")
    """Time of the clock (seconds since 1970) after which no other rule is begun."""


def main() -> None:
    cut = sys.argv.index("--")
    choice = tyro.cli(Choice, args=sys.argv[1:cut])
    config = parse(sys.argv[cut + 1 :]).config
    enable_compilation_cache()
    validation = Validation(config.rule, config, build_cohorts(config.rule, config))
    validation.compile()
    print(f"{choice.output}: compiled", flush=True)
    while choice.wait_for is not None and not choice.wait_for.exists():
        time.sleep(0.2)
    with choice.output.open("a") as file:
        for path in sorted(choice.rules.glob("*.safetensors"), reverse=True)[:: choice.every]:
            if time.time() > choice.until:
                break
            started = time.perf_counter()
            try:
                rule_params = params_of(config.rule, str(path))
            except ValueError as error:  # not a rule, or of another architecture
                sys.exit(fail("validate_rules", error, 2))
            score, environments = validation(rule_params)
            seconds = round(time.perf_counter() - started, 1)
            line = {"file": path.name, "score": score, "environments": environments}
            file.write(json.dumps({**line, "seconds": seconds}) + "\n")
            file.flush()
            returns = "  ".join(f"{n} {x['return']:.2f}" for n, x in environments.items())
            print(f"{path.name}: {score:.3f} in {seconds} s  {returns}", flush=True)


if __name__ == "__main__":
    main()
