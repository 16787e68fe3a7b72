"""The errors of the database, and of stored data."""

from aftercommit.errors import Defect, TransientError, Unavailable


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached, is locked, full or read-only."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the database is not available: {reason}")


class DatabaseLocked(DatabaseUnavailable):
    """Another process has been writing for too long; nothing was begun."""


class ConnectionLost(DatabaseUnavailable):
    """The connection to the database broke; the transaction was rolled back.

    >>> from aftercommit import ConnectionLost
    >>> async def place(application, order):
    ...     try:
    ...         await application.bus.handle(order)
    ...     except ConnectionLost:  # nothing was stored
    ...         await application.bus.handle(order)
    """


class CommitOutcomeUnknown(DatabaseUnavailable):
    """The connection broke while committing. Repeating a command with the same ids is safe.

    >>> from aftercommit import CommitOutcomeUnknown
    >>> async def place(application, order):
    ...     try:
    ...         await application.bus.handle(order)
    ...     except CommitOutcomeUnknown:
    ...         print(f"to make sure, say --order-id {order.order_id} again")
    ...         raise
    """

    def __init__(self) -> None:
        super().__init__(
            "the connection was lost while committing, so it is not known whether anything was "
            "stored; check it, or repeat the command"
        )


class SchemaOutdated(Unavailable):
    """The database has an older schema than this program needs."""

    def __init__(self, history: str, found: str | None, program: str) -> None:
        problem = f"is outdated (revision {found})" if found else "is missing beside other tables"
        super().__init__(f'the database schema of {history} {problem}; run "{program} db upgrade"')


class SchemaTooNew(TransientError):
    """The database has a schema this program does not know."""

    def __init__(self, history: str, found: str) -> None:
        super().__init__(
            f"the database schema (revision {found}) is not known to this version of {history}; "
            "install a newer one"
        )


class SchemaTooOld(TransientError):
    """The database has a schema from before the first one that this program can upgrade."""

    def __init__(self, history: str, found: str, first: str) -> None:
        super().__init__(
            f"the database schema (revision {found}) was made by a draft of {history}, before its "
            f"first version ({first}), and cannot be upgraded; let the draft do all that is "
            "outstanding, and begin with a new database"
        )


class SchemaOfAnother(TransientError):
    """Another application has its commands, events and deliveries in this schema."""

    def __init__(self, owner: str, application: str) -> None:
        super().__init__(
            f"the database schema belongs to the application {owner}; "
            f"give {application} another database, or another schema of this one"
        )


class StatementFailed(TransientError):
    """The database refuses a statement for a reason of its own, such as a trigger's.

    Another attempt may succeed, and each one counts.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the database refuses a statement now: {reason}")


class StatementRefused(Defect):
    """The database can never accept a statement, or the data in it."""

    retryable = False

    def __init__(self, reason: str) -> None:
        super().__init__(f"the database refuses a statement: {reason}")


class PartWithoutAggregate(Defect):
    """A part was added or changed without its aggregate, which would have checked the rules."""

    def __init__(self, part: str) -> None:
        super().__init__(
            f"a {part} was changed, and no aggregate of this unit of work has it; "
            "load its aggregate, and change it there"
        )
