"""Handlers that forget an `await`: mypy has to report each line that has a `type: ignore` here.

At run time, such a call does nothing, and the handler counts as done.
"""

from aftercommit import IdempotencyKey

from aftercommit_tests.things.bell import Bell
from aftercommit_tests.things.domain import ThingMade
from aftercommit_tests.things.storage import UnitOfWork


async def rings(event: ThingMade, bell: Bell, idempotency_key: IdempotencyKey) -> None:
    bell.ring(event.name, idempotency_key=idempotency_key)  # type: ignore[unused-coroutine]


async def returns_a_ring(event: ThingMade, bell: Bell, idempotency_key: IdempotencyKey) -> None:
    return bell.ring(event.name, idempotency_key=idempotency_key)  # type: ignore[return-value]


async def looks_for_a_thing(event: ThingMade, uow: UnitOfWork) -> None:
    uow.things.find(event.thing_id)  # type: ignore[unused-coroutine]


async def changes_a_thing(event: ThingMade, uow: UnitOfWork) -> None:
    uow.things.get(event.thing_id).rename("torch")  # type: ignore[attr-defined]


async def has_no_types(event, bell):  # type: ignore[no-untyped-def]
    bell.ring(event.name)  # nobody can know what this is
