"""The unit of work: state, events and deliveries in one transaction, or none of them.

Source: *Architecture Patterns with Python*, chapter 6. Different from the book:

- The message bus opens the unit of work, and commits it when the handler has returned. Returned
  means done, raised means not done: there is no `commit()` to forget, or to work on after.
- Events leave only after the commit, so work that was rolled back never speaks.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from aftercommit.claims import Committed, WorkItem
from aftercommit.envelope_factory import EnvelopeFactory

MAX_DEPTH = 100  # events that may cause each other in a row: more are taken for a cycle


class UnitOfWorkScope(Protocol):
    """One transaction, for one attempt to handle one message: rolled back, if not committed.

    The same transaction completes the delivery, or records the command, so the effect of either
    happens exactly once. A command from outside that came without an id, and changed nothing, is
    not recorded. One that a handler has returned is always recorded: it completes a delivery.

    There is one implementation, in `sql/unit_of_work_scope.py`. This protocol is what an attempt
    needs of it: so what is decided about attempts is read, and imported, without SQLAlchemy.
    """

    @property
    def uow(self) -> Any:
        """What the handler is given: the unit of work of the application."""

    async def commit(self, envelopes: EnvelopeFactory) -> Committed:
        """Commit what a handler has done. Nothing interrupts a commit, so the answer is reliable.

        :raises Exception: if a rule is violated that only the database can check; also an error of
            the database that a handler has swallowed
        :raises ConcurrentUpdate: if what was read has changed; a fresh attempt may succeed
        :raises DeliverySuperseded: if the delivery has another owner now
        :raises CausationTooDeep: if it has recorded an event, and `MAX_DEPTH` of them led to it
        """


UnitOfWorkFactory = Callable[[WorkItem], AbstractAsyncContextManager[UnitOfWorkScope]]
"""Opens a transaction for each attempt, and closes it, whatever happens.

:raises MessageAlreadyHandled: if the command was received and stored before
"""
