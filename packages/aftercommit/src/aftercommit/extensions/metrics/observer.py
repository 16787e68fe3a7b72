"""Counts commands, attempts and their durations, with prometheus-client: the observer.

It has a registry of its own, so two applications in one process do not mix, and is made only where
somebody can read it.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from itertools import product
from time import monotonic
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

from aftercommit.claims import Claim, CommandWork
from aftercommit.errors import MessageAlreadyHandled, is_permanent, is_transient
from aftercommit.observers import MessageOutcome, Observer, Outcome

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bounds for what has a time limit: the usual ones of Prometheus, up to the default lease."""
LONG_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)
"""For what may be tried again: up to the hours of the default policy, and a day."""

FAILING_SECONDS = 5.0  # less is a moment's trouble, which the callers' repetitions get over
RECENT_SECONDS = 30.0  # longer than a command may wait; then another one has to try

COMMAND_OUTCOMES = ("done", "refused", "failed", "repeated", "cancelled")
ATTEMPT_OUTCOMES = ("done", "retried", "parked", "lease_lost", "handed_over")
COMMANDS = f"Commands, by outcome: {', '.join(COMMAND_OUTCOMES)}."
ATTEMPTS = f"Attempts of handlers, by outcome: {', '.join(ATTEMPT_OUTCOMES)} (released)."
MESSAGES = f"Messages from brokers, by outcome: {', '.join(get_args(MessageOutcome))}."
CONFLICTS = "Runs of a handler that were repeated because another transaction was first."
SETTLED = "Time from the commit of an event until its delivery was done, with all attempts."


class MetricsObserver(Observer):
    """Counts by name and outcome, and durations by name; they begin with the application's name."""

    def __init__(self, application: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # when counting began: no metric
        self.registry = registry = CollectorRegistry()
        self.writes = WriteHealth()
        counter = partial(Counter, namespace=application, registry=registry)
        self._commands = counter("commands", COMMANDS, ["command", "outcome"])
        self._attempts = counter("attempts", ATTEMPTS, ["handler", "outcome"])
        self._messages = counter("messages", MESSAGES, ["source", "outcome"])
        self._conflicts = counter("optimistic_retries", CONFLICTS, ["name"])
        timer = partial(Histogram, namespace=application, registry=registry, unit="seconds")
        text = "Time from the beginning to the end of a command's handler."
        self._command_seconds = timer("command_duration", text, ["command"], buckets=SECONDS)
        text = "Time from the beginning to the end of an attempt."
        self._attempt_seconds = timer("attempt_duration", text, ["handler"], buckets=SECONDS)
        self._settled = timer("commit_to_settled", SETTLED, ["handler"], buckets=LONG_SECONDS)

    def expect(self, commands: Collection[str], handlers: Collection[str]) -> None:
        """Show 0 for all that may be counted: Prometheus takes no first value for an increase."""
        for labels in product(commands, COMMAND_OUTCOMES):
            self._commands.labels(*labels)
        for labels in product(handlers, ATTEMPT_OUTCOMES):
            self._attempts.labels(*labels)
        for name in (*commands, *handlers):
            self._conflicts.labels(name)

    @contextmanager
    def command(self, work: CommandWork, seconds: float) -> Iterator[None]:
        name = work.type
        try:
            with self._command_seconds.labels(name).time():
                yield
        except BaseException as error:
            self._commands.labels(name, _outcome(error)).inc()
            if is_transient(error) or isinstance(error, OSError):
                self.writes.failed()
            raise

    @contextmanager
    def attempt(self, claim: Claim, seconds: float) -> Iterator[None]:
        came_in_time = seconds > 0  # else it is not begun
        with self._attempt_seconds.labels(claim.handler).time() if came_in_time else nullcontext():
            yield

    def finished(self, outcome: Outcome) -> None:
        """Count what became of it. A command is done with its commit, not when its handler ends."""
        match outcome:
            case Outcome(CommandWork() as work, "succeeded"):
                self._commands.labels(work.type, "done").inc()
                self.writes.succeeded()
            case Outcome(CommandWork(completes=None) as work, "conflict"):
                self._conflicts.labels(work.type).inc()
            case Outcome(
                Claim(handler=handler) | CommandWork(completes=Claim(handler=handler)), "conflict"
            ):
                self._conflicts.labels(handler).inc()
            case Outcome(Claim() as claim, "succeeded"):
                self._attempts.labels(claim.handler, "done").inc()
                self.writes.succeeded()
                # two clocks, if another machine has committed it
                since_commit = (datetime.now(UTC) - claim.envelope.time).total_seconds()
                self._settled.labels(claim.handler).observe(max(0.0, since_commit))
            case Outcome(work, status):
                self._attempts.labels(work.name, status.replace(" ", "_")).inc()

    def message(self, source: str, outcome: MessageOutcome) -> None:
        self._messages.labels(source, outcome).inc()


class WriteHealth:
    """Whether the database takes writes: a read cannot see that it is locked, full or read-only."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._failures: tuple[float, float] | None = None  # the first and the last in a row

    def succeeded(self) -> None:
        """Something was committed."""
        self._failures = None

    def failed(self) -> None:
        """Something could not be committed, since the database was not available for it."""
        now = self._clock()
        self._failures = (self._failures or (now, now))[0], now

    def failing_seconds(self) -> float | None:
        """Return for how long no write has succeeded although some were tried; None if they do.

        After RECENT_SECONDS without a try nothing is known: a process that gets no requests since
        it is not ready would otherwise never be ready again.
        """
        if self._failures is None:
            return None
        first, last = self._failures
        is_recent = self._clock() - last < RECENT_SECONDS
        return last - first if is_recent and last - first >= FAILING_SECONDS else None


def _outcome(error: BaseException) -> str:
    match error:
        case MessageAlreadyHandled():
            return "repeated"
        case Exception():
            return "refused" if is_permanent(error) else "failed"
    return "cancelled"
