"""A whole registration in plain SQL, as one would write it by hand, for any kind of transactions.

The statements and the transactions are those of the application, handler by handler, and handlers
run concurrently, as there. No rule is checked, nothing is retried, and no e-mail is made.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import astuple, dataclass
from typing import Any, Protocol
from uuid import UUID, uuid4

from anyio import create_task_group

Values = dict[str, Any]

OF_REGISTERED = (
    "send_welcome_email",
    "log_registration",
    "allocate_welcome_coupon",
    "refresh_user_view",
)
OF_ALLOCATED = ("send_coupon_email", "refresh_user_view")
FOR_LATER = ("send_coupon_reminder", "expire_coupon")

STATEMENTS = {
    "note": """
        INSERT INTO aftercommit_commands (id, type, source, correlation_id, accepted_at)
        VALUES (:id, 'register_user', 'program', :story, {now})""",
    "find user": "SELECT id, name, email, email_key, version FROM users WHERE id = :id",
    "find mark": "SELECT email_undeliverable FROM users WHERE email_key = :key",
    "add user": """
        INSERT INTO users (id, name, email, email_key, version)
        VALUES (:id, :name, :email, :key, 1)""",
    "add event": """
        INSERT INTO aftercommit_events
            (id, source, type, schema_version, subject, time, correlation_id,
            causation_id, handler, data, recorded_at)
        VALUES (:id, '/allocation', :type, :version, :subject, CURRENT_TIMESTAMP, :story,
            :cause, :handler, :data, {now})""",
    "add delivery": """
        INSERT INTO aftercommit_deliveries
            (event_id, handler, attempts, token, available_at, owner, schema_version)
        VALUES (:event, :handler, 1, 1, {now} + 30.0, 'host', 1)""",
    "schedule delivery": """
        INSERT INTO aftercommit_deliveries
            (event_id, handler, attempts, token, available_at, schema_version)
        VALUES (:event, :handler, 0, 1, {now} + 2592000.0, 1)""",
    "done": """
        UPDATE aftercommit_deliveries
        SET completed_at = {now}, available_at = NULL, duration_seconds = 0.01, last_error = NULL
        WHERE event_id = :event AND handler = :handler AND token = 1
            AND parked_at IS NULL AND completed_at IS NULL""",
    "log": "INSERT INTO registration_log (user_id, email) VALUES (:id, :email)",
    "find batch": """
        SELECT reference, quantity, remaining, exhaustion_notified_on, version FROM coupon_batches
        WHERE remaining > 0 ORDER BY reference LIMIT 1 {lock}""",
    "take coupon": """
        UPDATE coupon_batches SET remaining = :remaining, version = :version + 1
        WHERE reference = :reference AND version = :version""",
    "add coupon": """
        INSERT INTO coupons (code, batch_reference, user_id, state, version)
        VALUES (:code, :reference, :id, 'allocated', 1)""",
    "lock user": "SELECT id FROM users WHERE id = :id {lock_user}",
    "write view": """
        INSERT INTO user_view (user_id, coupon_code, coupon_state, name, email)
        SELECT users.id, coupons.code, coupons.state, users.name, users.email
        FROM users LEFT JOIN coupons ON coupons.user_id = users.id WHERE users.id = :id
        ON CONFLICT (user_id) DO UPDATE SET coupon_code = excluded.coupon_code,
            coupon_state = excluded.coupon_state, name = excluded.name, email = excluded.email""",
}
WORDS = {
    "sqlite": {"now": "((julianday('now') - 2440587.5) * 86400.0)", "lock": "", "lock_user": ""},
    "postgresql": {
        "now": "extract(epoch FROM statement_timestamp())::double precision",
        "lock": "FOR UPDATE",
        "lock_user": "FOR NO KEY UPDATE",
    },
}


class Execute(Protocol):
    """Executes one of `STATEMENTS`, once or for each of several values; returns the first row."""

    async def __call__(self, name: str, *values: Values) -> Sequence[Any] | None:
        """Execute it."""


class OpenTransaction(Protocol):
    """Opens a transaction that is committed at the end of its context."""

    def __call__(self, *, reads: bool = False) -> AbstractAsyncContextManager[Execute]:
        """Open one; one that only reads waits for no writer."""


def statements(dialect: str) -> dict[str, str]:
    """Return the statements for a kind of database."""
    return {name: sql.format(**WORDS[dialect]) for name, sql in STATEMENTS.items()}


def new_hex() -> str:
    """Return an id in the form that SQLite stores."""
    return uuid4().hex


@dataclass(frozen=True, slots=True)
class Registered:
    """The ids of a user, of the trace, and of the event; and the address."""

    user: object
    story: object
    event: object
    email: str


@dataclass(frozen=True, slots=True)
class Registration:
    """Registers a user and does what follows; `new_id` makes ids in the database's form."""

    transaction: OpenTransaction
    new_id: Callable[[], UUID | str]

    async def __call__(self) -> None:
        """Register one."""
        await self.follow(await self.store())

    async def store(self, name: str = "Иван", email: str | None = None) -> Registered:
        """Store a user, with the deliveries that follow."""
        user, story, event = self.new_id(), self.new_id(), self.new_id()
        email = email or f"{user}@example.com"
        async with self.transaction() as execute:
            await execute("note", {"id": story, "story": story})
            await execute("find user", {"id": user})
            await execute("add user", {"id": user, "name": name, "email": email, "key": email})
            await execute("add event", event_row(event, "user_registered", 2, user, story, story))
            await execute("add delivery", *delivery_rows(event, OF_REGISTERED))
        return Registered(user, story, event, email)

    async def follow(self, registered: Registered) -> None:
        """Run the deliveries."""
        user, story, event, email = astuple(registered)
        async with create_task_group() as group:
            group.start_soon(self._send, event, "send_welcome_email", email)
            group.start_soon(self._log, event, user, email)
            group.start_soon(self._coupon, event, user, story)
            group.start_soon(self._refresh, event, user)

    async def _send(self, event: object, handler: str, email: str) -> None:
        async with self.transaction(reads=True) as execute:
            await execute("find mark", {"key": email})
        async with self.transaction() as execute:
            await execute("done", {"event": event, "handler": handler})

    async def _log(self, event: object, user: object, email: str) -> None:
        async with self.transaction() as execute:
            await execute("log", {"id": user, "email": email})
            await execute("done", {"event": event, "handler": "log_registration"})

    async def _coupon(self, event: object, user: object, story: object) -> None:
        allocated, handler = self.new_id(), "allocate_welcome_coupon"
        async with self.transaction() as execute:
            reference, _, remaining, _, version = await execute("find batch") or ()
            batch = {"reference": reference, "remaining": remaining - 1, "version": version}
            await execute("take coupon", batch)
            code = f"{reference}-{uuid4().hex}"
            await execute("add coupon", {"code": code, "reference": reference, "id": user})
            said = event_row(allocated, "coupon_allocated", 1, user, story, event)
            await execute("add event", {**said, "handler": handler})
            await execute("add delivery", *delivery_rows(allocated, OF_ALLOCATED))
            await execute("schedule delivery", *delivery_rows(allocated, FOR_LATER))
            await execute("done", {"event": event, "handler": handler})
        async with create_task_group() as group:
            group.start_soon(self._send_coupon, allocated, user)
            group.start_soon(self._refresh, allocated, user)

    async def _send_coupon(self, event: object, user: object) -> None:
        async with self.transaction(reads=True) as execute:
            _, _, email, *_ = await execute("find user", {"id": user}) or ()
        await self._send(event, "send_coupon_email", email)

    async def _refresh(self, event: object, user: object) -> None:
        async with self.transaction() as execute:
            await execute("lock user", {"id": user})
            await execute("write view", {"id": user})
            await execute("done", {"event": event, "handler": "refresh_user_view"})


Work = Callable[[], Awaitable[object]]


def event_row(
    event: object, type_: str, version: int, user: object, story: object, cause: object
) -> Values:
    data = f'{{"user_id":"{user}","name":"Иван","email":"{user}@example.com"}}'
    of_type = {"type": type_, "version": version, "subject": str(user), "data": data}
    return {"id": event, **of_type, "story": story, "cause": cause, "handler": None}


def delivery_rows(event: object, handlers: Sequence[str]) -> list[Values]:
    return [{"event": event, "handler": handler} for handler in handlers]
