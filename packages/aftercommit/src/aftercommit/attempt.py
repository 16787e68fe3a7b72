"""One attempt: what happens to a claim, from the limits of its handler to what is stored about it.

Read `Executor.attempt` first: the handler runs, one `match` decides what becomes of the claim, and
observers are notified. Its parts follow. `bus.py` starts attempts, and executes commands, too.
"""

from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from logging import DEBUG, getLogger
from math import inf
from typing import TypeVar

from anyio import CancelScope, current_time, get_cancelled_exc_class, sleep

from aftercommit import errors
from aftercommit.claims import Claim, CommandWork, Committed, Failure, Report
from aftercommit.delivery_policy import DeliveryPolicy
from aftercommit.envelope_factory import EnvelopeFactory
from aftercommit.envelopes import MessageOrigin, current_context
from aftercommit.handler_binding import BoundHandler, BoundHandlers
from aftercommit.handler_containment import contain
from aftercommit.observers import SUCCESS, CompositeObserver, Outcome
from aftercommit.ports import DeliveryStore, UnitOfWorkFactory

CONFLICT_DELAY = 0.02  # seconds, at most, before a handler runs again after a conflict
LONGEST_CONFLICT_DELAY = 1.0  # after more conflicts
FINAL_WRITE_TIMEOUT = 2  # seconds to store what became of a cancelled delivery
FINAL_WRITE_DELAY = 0.5  # before another try, if the database is down, or after a conflict
T = TypeVar("T")

logger = getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """Handles one message at a time: a delivery, or a command."""

    registry: BoundHandlers
    new_uow: UnitOfWorkFactory
    delivery_store: DeliveryStore
    policy: DeliveryPolicy
    envelopes: EnvelopeFactory
    random: Callable[[], float]
    instrumentation: CompositeObserver

    async def attempt(  # noqa: C901 - all that may become of a claim is read in one place
        self, claim: Claim, report: Report
    ) -> Sequence[Claim]:
        """Run the handler of a claimed delivery; store and report what becomes of the claim.

        Return the claims of this process on the deliveries that follow. A failure is stored and
        reported, not raised. A cancellation is raised after the end of the claim has been stored.
        """
        known = self.registry.instead if claim.given_up else self.registry.events
        if (handler := known.get(claim.handler)) is None:
            await self.release([claim], report)  # one of its ports is not configured here
            return ()
        limit = TimeLimit(claim, handler, self.policy)
        outcome: Committed | BaseException
        try:
            with self.instrumentation.attempt(claim, limit.seconds):
                if handler.is_transactional:
                    with limit.keep():
                        outcome = await self._commit(handler, claim, limit)
                else:
                    outcome = await self._have_effect(handler, claim, limit, report)
        except (Exception, get_cancelled_exc_class()) as error:
            outcome = error
        match outcome:
            case Committed():
                report.events += outcome.events
                how = outcome, handler.name, handler.is_transactional
                self.instrumentation.finished(Outcome(claim, SUCCESS[not claim.given_up], *how))
                return outcome.claims
            case errors.HandlerPaused():
                await self.release([claim], report)
            case errors.LeaseExpired():
                logger.warning("%s", outcome)
                report.failures.append(Failure(delivery=claim, error=outcome, retry_in=0.0))
                await self.release([claim], report)
            case errors.DeliverySuperseded():
                logger.info("%s", outcome)
                self.instrumentation.finished(Outcome(claim, "lease lost"))
            case Exception():
                await self._record_failure(claim, outcome, report)
            case _:  # cancelled: a handler that has had its effect must not be repeated at once
                if not limit.has_returned:
                    perhaps = limit.has_begun and not (handler.is_transactional or claim.given_up)
                    await self.release([claim], report, interrupted=perhaps)
                raise outcome
        return ()

    async def _commit(
        self, handler: BoundHandler, work: Claim | CommandWork, limit: "TimeLimit"
    ) -> Committed:
        """Run a handler in a fresh unit of work; run it again if others changed what it had read.

        Between two runs it has no transaction, so others can finish theirs. The delay is drawn from
        zero to a bound that doubles up to a maximum, so that handlers in conflict do not collide
        again ("full jitter", AWS Architecture Blog, *Exponential Backoff And Jitter*).

        :raises ConcurrentUpdate: if the time limit leaves no time for another delay
        """
        longest = CONFLICT_DELAY
        while True:
            try:
                async with self.new_uow(work) as scope:
                    if isinstance(work, Claim):
                        await self.delivery_store.ensure_not_paused(work)
                    limit.begin()
                    await handler.run(work, scope.uow)
                    return await scope.commit(self.envelopes)
            except errors.ConcurrentUpdate:
                delay = longest * self.random()
                if not limit.allows_another_run(delay):
                    raise
            self.instrumentation.finished(Outcome(work, "conflict"))
            await sleep(delay)
            longest = min(2 * longest, LONGEST_CONFLICT_DELAY)

    async def _have_effect(
        self, handler: BoundHandler, claim: Claim, limit: "TimeLimit", report: Report
    ) -> Committed:
        """Run a handler that has no transaction; complete its delivery, or store its reply.

        The delivery is completed in the handler's own scope: another scope would cost as much as
        all the rest here. If that fails, a last write completes it.
        """
        await self.delivery_store.ensure_not_paused(claim)
        limit.begin()
        outcome = Outcome(claim, SUCCESS[not claim.given_up], handler=handler.name)
        write = partial(self.delivery_store.complete, claim)
        alone = partial(write, follow=False)
        complete = partial(self._last_write, write, [claim], report, alone, completes=True)
        try:
            with limit.keep():
                answer = await handler.run(claim, None)
                limit.extend_to(claim.leased_at + self.policy.lease_seconds)
                if answer is None:
                    with suppress(Exception):
                        return Committed(claims=tuple(await write()))
        except get_cancelled_exc_class() as error:
            if limit.has_returned:
                await complete(outcome=outcome, cancelled=error)
            raise
        if answer is not None:
            return await self._store_answer(answer, claim, outcome)
        return Committed(claims=tuple(await complete(outcome=outcome)))

    async def _store_answer(self, answer: object, claim: Claim, outcome: Outcome) -> Committed:
        """Execute the command that a handler has returned; its commit completes the delivery.

        If others change what the command has read, it is repeated; the external effect is not.
        """
        origin = MessageOrigin(source=claim.handler)
        execute = partial(self._execute, self.envelopes.of_command(answer, origin, claim))
        try:
            stored = await self._last_write(execute, [claim], outcome=outcome)
        except Exception as error:  # the external system's reply is known nowhere else
            error.add_note(f"{claim.handler} had returned {answer!r}")
            raise
        return replace(stored, answer=answer)

    async def _execute(self, command: CommandWork) -> Committed:
        """Run the handler of a command within its limits."""
        handler = self.registry.commands[type(command.message)]
        limit = TimeLimit(command, handler, self.policy)
        token = current_context.set(command.context)
        try:
            with self.instrumentation.command(command, limit.seconds), limit.keep():
                committed = await self._commit(handler, command, limit)
            logger.info("%s handled", command.name)
            self.instrumentation.finished(Outcome(command, "succeeded", committed))
            return committed
        finally:
            current_context.reset(token)

    async def _record_failure(self, claim: Claim, error: Exception, report: Report) -> None:
        """Store and report that an attempt has failed, and when the next one begins."""
        delay = self.policy.retry_delay(claim, error, random=self.random)
        failure = self.registry.or_instead(Failure(delivery=claim, error=error, retry_in=delay))
        outcome = Outcome(claim, "parked" if failure.retry_in is None else "retried")
        try:
            write = partial(self.delivery_store.record_failure, failure)
            await self._last_write(write, [claim], report, outcome=outcome)
        except errors.DeliverySuperseded as superseded:
            logger.info("%s; %s", failure, superseded)
            self.instrumentation.finished(Outcome(claim, "lease lost"))
            return
        except Exception as problem:  # the row is unchanged: it falls due when the lease ends
            logger.error("the next failure could not be stored: %s", problem)
            delay = self.policy.lease_seconds
            failure = replace(failure, retry_in=delay, given_up=None)
            outcome = Outcome(claim, "retried")
        fate = "parked" if delay is None else f"next attempt in {delay:.3g} s"
        fate = f"given up: {failure.given_up.reason}" if failure.given_up else fate
        fate += "; this one does not count" if errors.is_away(error) else ""
        logger.warning("%s; %s", failure, fate, exc_info=logger.isEnabledFor(DEBUG) and error)
        self.instrumentation.finished(outcome)
        report.failures.append(failure)

    async def release(
        self, claims: Collection[Claim], report: Report | None = None, *, interrupted: bool = False
    ) -> None:
        """Give claimed deliveries back: workers can claim them now, and no attempt is counted."""
        for claim in claims:
            self.instrumentation.finished(Outcome(claim, "handed over"))
        release = partial(self.delivery_store.release, tuple(claims), interrupted=interrupted)
        try:
            if claims:
                await self._last_write(release, claims, report)
        except Exception as error:
            logger.warning("claims could not be released; they end with their leases: %s", error)

    async def _last_write(  # noqa: C901 - its repetition is read in place
        self,
        write: Callable[[], Awaitable[T]],
        claims: Collection[Claim],
        report: Report | None = None,
        if_cancelled: Callable[[], Awaitable[T]] | None = None,
        *,
        completes: bool = False,
        outcome: Outcome | None = None,
        cancelled: BaseException | None = None,
    ) -> T:
        """Store what became of claims while their lease holds, or raise what prevented it.

        It waits in line, and tries again if the database is down, if the delivery is locked, or if
        another transaction was faster. If the task is cancelled, it is made once more, within a
        time limit; its return value is lost then, so it may be another write, `if_cancelled`, and
        observers get their `outcome` only here. A caller that was `cancelled` in a first try passes
        the error. The report keeps what could not be written: it may be written later.
        """
        end = max(each.leased_at for each in claims) + self.policy.lease_seconds
        problem: Exception | None = None

        async def until_stored(write: Callable[[], Awaitable[T]], end: float) -> T:
            nonlocal problem
            while True:
                try:
                    return await write()
                except (errors.TransientError, errors.ConcurrentUpdate) as error:
                    problem = error
                    may_heal = isinstance(error, errors.ConcurrentUpdate) or errors.is_away(error)
                    if not may_heal or current_time() + FINAL_WRITE_DELAY >= end:
                        raise
                await sleep(FINAL_WRITE_DELAY)

        try:
            if cancelled:
                raise cancelled
            with CancelScope(deadline=max(end, current_time() + FINAL_WRITE_TIMEOUT)):
                return await until_stored(write, end)
            raise problem or errors.NotCompleted()
        except get_cancelled_exc_class():
            end = current_time() + FINAL_WRITE_TIMEOUT
            try:
                with CancelScope(deadline=end, shield=True) as last:
                    await until_stored(if_cancelled or write, end)
                if last.cancelled_caught:
                    logger.warning("the last write of a cancelled task was not made in time")
                elif outcome:
                    self.instrumentation.finished(outcome)
            except Exception as error:  # in the place of the cancellation, it would be a failure
                logger.warning("the last write of a cancelled task failed: %s", error)
            raise
        except Exception as error:
            if report and not isinstance(error, errors.DeliverySuperseded):
                report.keep(claims, if_cancelled or write, completes=completes)
            raise


class TimeLimit:
    """How long a handler may take; its runs after conflicts share this time.

    A handler that waits for others has not begun, and does not fail if that takes too long. Nor
    does one that the end of its lease stops before it has had its full time.

    A thread cannot be stopped. Without a transaction, its attempt ends with it, or shortly before
    the lease: until then, nothing takes its place in its lane, or within a limit of calls.
    """

    def __init__(
        self, work: Claim | CommandWork, handler: BoundHandler, policy: DeliveryPolicy
    ) -> None:
        self._work, self._seconds, self._is_anew = work, policy.handler_timeout_seconds, False
        self._goes_on = handler.is_in_thread and not handler.is_transactional
        self._name = work.handler if isinstance(work, Claim) else handler.name
        match work:
            case Claim():  # it ends before its lease, in time to store what becomes of the claim
                self._end_by = work.leased_at + policy.begin_seconds + self._seconds
                # an external effect begins only if all of its time is left
                self._begin_by = self._end_by - (0 if handler.is_transactional else self._seconds)
            case CommandWork(completes=None):
                self._begin_by, self._end_by = current_time() + self._seconds, inf
            case CommandWork(completes=Claim() as claim):  # a reply: its effect has happened, so
                self._begin_by = self._end_by = claim.leased_at + policy.lease_seconds
                self._is_anew = True  # each run has the whole time to store it
        self._scope = CancelScope(deadline=self._begin_by)
        self._waits, self.has_begun = True, False
        self._is_short = self.has_returned = False
        self.seconds = min(self._begin_by + self._seconds, self._end_by) - current_time()  # at most

    @contextmanager
    def keep(self) -> Iterator[None]:
        """Give the body this much time, or raise HandlerTimeout, or the error for a late begin."""
        with self._scope:
            try:
                yield
            except BaseException as error:  # of the engine, too: a handler may have cancelled it
                contain(error, self._name, of_engine=True)
                raise
            return
        if self.has_returned:  # when the time of what follows ends, the handler is not at fault
            return
        if self._waits or self._is_short:
            raise self._too_late()
        raise errors.HandlerTimeout(self._name, self._seconds)

    def begin(self) -> None:
        """Start the handler's time, once, when it has what it needs. Raise if it is too late."""
        self._waits = False
        if not self.has_begun:
            now, self.has_begun = current_time(), True
            if now >= self._begin_by:
                raise self._too_late()
            self._is_short = self._end_by < now + self._seconds
            self._scope.deadline = min(now + self._seconds, self._end_by)
            if self._goes_on:
                self._scope.deadline = self._end_by

    def extend_to(self, end: float) -> None:
        """Give what follows a handler until `end`, if the handler has returned in time."""
        self.has_returned = True  # so its external effect has happened
        self._scope.deadline = end

    def allows_another_run(self, delay: float) -> bool:
        """Tell whether another run can begin after a delay in seconds; until then, it waits."""
        end = self._begin_by if self._is_anew else self._scope.deadline
        self._waits = current_time() + delay < end
        if self._waits and self._is_anew:
            self.has_begun, self._scope.deadline = False, end
        return self._waits

    def _too_late(self) -> Exception:
        if isinstance(self._work, Claim):
            return errors.LeaseExpired(self._work.handler, self._work.envelope.id)
        return errors.NotBegun(self._work.name)
