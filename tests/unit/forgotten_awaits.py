"""Handlers that forget an `await`: mypy has to report each line that has a `type: ignore` here.

At run time, such a call does nothing, and the handler counts as done.
"""

from uuid import UUID

from aftercommit.claims import IdempotencyKey
from aftercommit.unit_of_work import Repository

from allocation.domain.aggregate import Aggregate
from allocation.domain.events import Event, UserRegistered
from allocation.service_layer.emails import Email
from allocation.service_layer.unit_of_work import UnitOfWork
from allocation.service_layer.user_mailer import EmailSender

LETTER = Email(recipient="reader@example.com", subject="A letter", text="")
ANY = UUID(int=1)


async def sends_an_email(
    event: Event, notifications: EmailSender, idempotency_key: IdempotencyKey
) -> None:
    notifications.send(LETTER, idempotency_key=idempotency_key)  # type: ignore[unused-coroutine]


async def returns_an_email(
    event: Event, notifications: EmailSender, idempotency_key: IdempotencyKey
) -> None:
    return notifications.send(LETTER, idempotency_key=idempotency_key)  # type: ignore[return-value]


async def looks_for_an_aggregate(event: Event, things: Repository[Aggregate, UUID]) -> None:
    things.find(ANY)  # type: ignore[unused-coroutine]


async def changes_an_aggregate(event: Event, things: Repository[Aggregate, UUID]) -> None:
    things.get(ANY).record(event)  # type: ignore[attr-defined]


async def looks_for_a_user(event: UserRegistered, uow: UnitOfWork) -> None:
    uow.users.find(event.user_id)  # type: ignore[unused-coroutine]


async def logs_a_user(event: UserRegistered, uow: UnitOfWork) -> None:
    uow.registration_log.append(event.user_id, event.email)  # type: ignore[unused-coroutine]


async def refreshes_the_view_of_users(event: UserRegistered, uow: UnitOfWork) -> None:
    uow.user_view.refresh(event.user_id)  # type: ignore[unused-coroutine]


async def has_no_types(event, notifications):  # type: ignore[no-untyped-def]
    notifications.send(LETTER)  # nobody can know what this is
