"""The observer that counts commands and attempts, and measures them, with prometheus-client.

It has its own registry, so that two applications in one process do not mix, and is created only
where somebody can read it.
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
"""Buckets for durations with a time limit: Prometheus's usual ones, up to the default lease."""
LONG_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)
"""Buckets for what may be retried: up to the hours of the default policy, and a day."""

FAILING_SECONDS = 5.0  # shorter outages do not matter: callers repeat their commands
RECENT_SECONDS = 30.0  # longer than a command may wait; then another try is needed

COMMAND_OUTCOMES = ("done", "refused", "failed", "repeated", "cancelled")
ATTEMPT_OUTCOMES = ("done", "given_up", "retried", "parked", "lease_lost", "handed_over")
COMMANDS = f"Commands, by outcome: {', '.join(COMMAND_OUTCOMES)}."
ATTEMPTS = f"Attempts of handlers, by outcome: {', '.join(ATTEMPT_OUTCOMES)} (released)."
MESSAGES = f"Messages from brokers, by outcome: {', '.join(get_args(MessageOutcome))}."
CONFLICTS = "Runs of a handler that were repeated because another transaction was faster."
SETTLED = "Time from the commit of an event until its delivery was done, with all attempts."


class MetricsObserver(Observer):
    """Counts and durations by name; the metrics' names begin with that of the application."""

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

    def expect(
        self, commands: Collection[str], handlers: Collection[str], subscriptions: Collection[str]
    ) -> None:
        """Initialize all counters with 0: Prometheus takes no first value for an increase."""
        for labels in product(("commands", *subscriptions), get_args(MessageOutcome)):
            self._messages.labels(*labels)
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
        came_in_time = seconds > 0  # otherwise, it has not begun
        with self._attempt_seconds.labels(claim.handler).time() if came_in_time else nullcontext():
            yield

    def finished(self, outcome: Outcome) -> None:
        """Count an outcome. A command is done with its commit, not when its handler returns."""
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
                # two clocks, if another machine has committed the event
                since_commit = (datetime.now(UTC) - claim.envelope.time).total_seconds()
                self._settled.labels(claim.handler).observe(max(0.0, since_commit))
            case Outcome(Claim() as claim, "given up"):
                self._attempts.labels(claim.handler, "given_up").inc()
                self.writes.succeeded()
            case Outcome(work, status):
                self._attempts.labels(work.name, status.replace(" ", "_")).inc()

    def message(self, source: str, outcome: MessageOutcome) -> None:
        self._messages.labels(source, outcome).inc()


class WriteHealth:
    """Whether the database accepts writes: a read does not notice that it is locked or full."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._failures: tuple[float, float] | None = None  # first and last of a series

    def succeeded(self) -> None:
        """Note that something was committed."""
        self._failures = None

    def failed(self) -> None:
        """Note that something could not be committed, because the database was unavailable."""
        now = self._clock()
        self._failures = (self._failures or (now, now))[0], now

    def failing_seconds(self) -> float | None:
        """Return for how many seconds writes have failed; None if they succeed.

        After RECENT_SECONDS without a try, nothing is known: otherwise a process that gets no
        requests because it is not ready would never be ready again.
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
