"""What a run directory keeps of each evaluation: its result, or why there is none.

One that fails does not take the others with it.
"""

from collections.abc import Callable
from pathlib import Path

from lpg.runs.streams import fail
from metatest.atari.emulator import EmulatorError
from metatest.report.failures import Failure, add_failure
from metatest.report.results import Result, keep_result
from metatest.report.traces import write_events


def keep(run_dir: Path, env: str, algorithm: str, evaluated: Callable[[], Result]) -> bool:
    """Keep what `evaluated` returns or, where it raises FloatingPointError or EmulatorError, the
    sentence, which goes to stderr too; False then."""
    try:
        result = evaluated()
    except (FloatingPointError, EmulatorError) as error:
        fail("metatest", error, 1)
        add_failure(run_dir, Failure(env, algorithm, str(error)))
        return False
    keep_result(run_dir, result)
    write_events(run_dir, result)
    return True
