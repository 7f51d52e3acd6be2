"""Lives of a sweep side by side, each in a process of its own; results are its parent's to keep.

Processes, not threads: acting and bookkeeping hold Python's lock, an emulator's crash takes its
process with it, and a life is stopped, saved and taken up as it is alone. It shares nothing with
the others, so its numbers are the same however many are lived at a time.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax

from lpg.platform import cores
from lpg.runs.command import enable_compilation_cache
from lpg.runs.owner import owned
from lpg.runs.signals import Stopped
from lpg.runs.workers import DiedError, News, Workers
from metatest.algorithms import Algorithm
from metatest.atari.emulator import GO_ON, EmulatorError
from metatest.atari.games import games
from metatest.atari.lives import Life, is_over, stages
from metatest.atari.run import evaluate_atari, live, programs_of
from metatest.atari.taking_up import AtariRun
from metatest.report.results import Result

CORES = 4  # of a job: on 16 cores four jobs made 2.6 times the frames of one
SECONDS = 0.5  # until a signal is seen where there is no news


class Jobs(NamedTuple):
    """How many lives are lived at a time, and how a process of its own makes the algorithms."""

    number: int
    remake: Callable[[], list[Algorithm]]  # goes there pickled, as algorithms would not


def default_number() -> int:
    """One for every four cores; one alone where no two processes can have the device."""
    if jax.default_backend() == "tpu":
        return 1
    return max(1, cores() // CORES)


class Tell(NamedTuple):
    """Who hears of lives, by the names of run and life."""

    began: Callable[[str, int], None]  # and how many updates it has
    progress: Callable[[str, int, dict[str, Any]], None]  # as `evaluate_atari`'s on_progress
    over: Callable[[str], None]


@dataclass(eq=False)
class _Evaluation:
    """A run on its way."""

    run: AtariRun
    jobs: Jobs
    player: int  # its algorithm's place among those remade
    save_agents: bool
    waiting: deque[Life | None] = field(default_factory=deque)  # None: the end, by evaluate_atari
    working: int = 0
    result: Result | None = None
    failure: Exception | None = None

    def __post_init__(self) -> None:
        self._batches = _batches(self.run)

    @property
    def done(self) -> bool:
        return not self.working and not (self.result is None and self.failure is None)

    def fill(self) -> int:
        """Have something waiting where there is anything to do; updates of lives that are over."""
        updates = 0
        while not (self.waiting or self.working or self.done):
            try:
                batch = next(self._batches)
            except FloatingPointError as error:
                self.failure = error
                break
            over = [x for x in batch if x is not None and is_over(self.run, x)]
            updates += sum(x.num_updates for x in over)
            self.waiting.extend(x for x in batch if x not in over)
        return updates

    def name(self, life: Life | None) -> str:
        return f"{self.run.game.name} {self.run.algorithm.name} {life.name if life else 'end'}"

    def start(self, workers: Workers) -> Life | None:
        """The first that waits."""
        life = self.waiting.popleft()
        run = self.run
        which = self.player, run.game.name, (run.given, run.run_dir, run.seed)
        workers.start(
            (self, life), partial(_work, self.jobs.remake, *which, life, self.save_agents)
        )
        self.working += 1
        return life

    def end(self, what: Any) -> None:
        """Of one of its processes. Raises what ends the others as well."""
        self.working -= 1
        if isinstance(what, DiedError):
            who = f"The process that plays {self.run.game.name}"
            what = EmulatorError(f"{who} is no more ({what}); {GO_ON}.")
        if isinstance(what, FloatingPointError | EmulatorError):
            self.failure = what
            self.waiting.clear()
        elif isinstance(what, Exception):
            raise what
        else:
            self.result = what


def play_side_by_side(
    runs: Sequence[tuple[int, AtariRun]],
    jobs: Jobs,
    stop: Sequence[int],
    tell: Tell,
    keep: Callable[[AtariRun, Callable[[], Result]], None],
    save_agents: bool,
) -> None:
    """Each run's lives as soon as they may be lived, in the runs' order.

    Args:
        runs: with their algorithms' places among those that jobs.remake() makes.
        stop: in which there is something once all are to be saved and left.
        keep: what came of a run, which the call returns or raises.

    Raises Stopped where they were left, and what `evaluate_atari` does but is no failure of one run
    alone; all processes have ended then.
    """
    left = [_Evaluation(run, jobs, player, save_agents) for player, run in runs]
    with Workers(jobs.number) as workers:
        while left and not stop:
            for evaluation in left:
                if workers.free:
                    _start(evaluation, workers, tell)
            for evaluation in [x for x in left if x.done]:
                left.remove(evaluation)
                keep(evaluation.run, partial(_outcome, evaluation))
            for news in workers.news(SECONDS):
                _hear(news, tell)
        if left:
            for news in workers.stop():
                if not news.over:
                    _hear(news, tell)
            raise Stopped


def _start(evaluation: _Evaluation, workers: Workers, tell: Tell) -> None:
    evaluation.run.keep_options()
    if updates := evaluation.fill():
        tell.progress(evaluation.name(None), updates, {})
    while evaluation.waiting and workers.free:
        life = evaluation.start(workers)
        tell.began(evaluation.name(life), life.num_updates if life else 0)


def _hear(news: News, tell: Tell) -> None:
    assert isinstance(news.who, tuple)
    evaluation, life = news.who
    if news.over:
        tell.over(evaluation.name(life))
        evaluation.end(news.what)
    else:
        tell.progress(evaluation.name(life), *news.what)


def _outcome(evaluation: _Evaluation) -> Result:
    if evaluation.failure is not None:
        raise evaluation.failure
    assert evaluation.result is not None, "an evaluation is done with a result or a failure"
    return evaluation.result


def _batches(run: AtariRun) -> Iterator[Sequence[Life | None]]:
    yield from stages(run)
    yield [None]


def _work(
    remake: Callable[[], list[Algorithm]],
    player: int,
    game: str,
    given: tuple[Any, ...],
    life: Life | None,
    save_agents: bool,
    tell: Callable[[Any], None],
    stop: list[int],
) -> Result | None:
    """In a process of its own: a life, or what is left when all are over."""
    enable_compilation_cache()
    run = AtariRun(remake()[player], games()[game], *given)
    if life is None:
        return evaluate_atari(run, save_agents=save_agents)
    folder = run.folder / life.name
    folder.mkdir(exist_ok=True)
    with owned(folder):  # by one that outlives its parent for a moment, perhaps
        programs = programs_of(run)(life.num_updates)
        live(run, life, programs, lambda *news: tell(news), nullcontext(stop))
    return None
