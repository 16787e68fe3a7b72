"""What an erasure replaces around events: ids of messages, sums, and tokens for the page."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from aftercommit.claims import Claim, Failure
from aftercommit.envelopes import MessageOrigin
from aftercommit.extensions.operations.decisions import Decision
from aftercommit.extensions.operations.redaction import handlers_with_effects
from aftercommit.process.application import Application
from aftercommit.sql import tables

from allocation.adapters import orm
from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.domain.commands import ChangeEmail, RecordBounce
from allocation.entrypoints.app import APP
from allocation.erase_user.erasure import (
    erase,
    find_person,
)
from tests.builders import a_batch, a_registration, a_user_id
from tests.looking import change, rows

NAME, OLD, NEW = "Анна Грюн", "Anna@Example.com", "gruen@example.net"
ANNA = a_registration(name=NAME, email=OLD)
IVAN = a_registration(name="Иван", email="ivan@example.com")
MARIA = Decision(by="Maria")
BY_IVAN = MessageOrigin(source="/jo" + OLD, id="ivan@example.com", fingerprint="sum")


@pytest.fixture
async def application(each_settings: Settings) -> AsyncIterator[Application]:
    """Anna has a coupon, and another address, which was refused; Ivan has a coupon, too."""
    async with bootstrap(APP, each_settings) as application:
        bus = application.bus
        await bus.handle(a_batch(quantity=5))
        said = MessageOrigin(source=f"/of/{OLD}", id=f"registers {OLD.upper()}", fingerprint="sum")
        await bus.handle(ANNA, said)
        await bus.handle(IVAN, BY_IVAN)
        await bus.handle(ChangeEmail(user_id=ANNA.user_id, new_email=NEW))
        await bus.handle(RecordBounce(user_id=ANNA.user_id, email=NEW))
        await begin_again(application, "send_welcome_email", "send_change_notice")
        for claim in await claimed(application, "send_welcome_email", "send_change_notice"):
            error = OSError(f"550 no mailbox of {NAME} <{OLD}>")
            is_last = claim.handler == "send_change_notice"
            failure = Failure(delivery=claim, error=error, retry_in=None if is_last else 1000)
            await bus.outbox.record_failure(failure)
        yield application


async def begin_again(application: Application, *handlers: str) -> None:
    """Let deliveries of Anna's events be as if they had never been attempted."""
    row, hers = tables.deliveries.c, tables.events.c.data.contains(str(ANNA.user_id))
    these = row.handler.in_(handlers), row.event_id.in_(sa.select(tables.events.c.id).where(hers))
    now = {"available_at": application.database.clock}
    fresh = {"attempts": 0, "completed_at": None, "discarded_at": None, **now}
    await change(application, sa.update(tables.deliveries).where(*these).values(fresh))


async def claimed(application: Application, *handlers: str) -> Sequence[Claim]:
    return await application.bus.outbox.claim(10, handlers)


async def erase_anna(application: Application) -> int:
    return await erase(
        application.database, ANNA.user_id, handlers_with_effects(application), Decision(by="Maria")
    )


async def stored_deliveries(application: Application) -> dict[tuple[Any, str], Any]:
    columns = tables.deliveries.c
    found = await rows(application, sa.select(*columns))
    return {(row.event_id, row.handler): row for row in found}


@pytest.mark.anyio
async def test_the_commands_of_others_in_the_same_trace_stay_as_they_are(
    application: Application,
) -> None:
    """Callers may share a correlation id; the sum is what another body is refused by."""
    bus, shared = application.bus, a_user_id()
    for number in (1, 2):
        said = MessageOrigin(
            source="/shop", id=f"m{number}", fingerprint="sum", correlation_id=shared
        )
        await bus.handle(a_registration(email=f"user{number}@example.com"), said)
    first = sa.select(orm.users.c.id).where(orm.users.c.email_key == "user1@example.com")
    [(user_id,)] = await rows(application, first)

    await erase(application.database, user_id, [], MARIA)

    command = tables.commands.c
    sums = sa.select(command.message_id, command.fingerprint).where(command.source == "/shop")
    found = {row.message_id: row.fingerprint for row in await rows(application, sums)}
    assert found == {"m1": None, "m2": "sum"}


@pytest.mark.parametrize("spelling", ["ÜMIT@пример.рф", "ümit@ПРИМЕР.РФ", "u\u0308mit@пример.рф"])
@pytest.mark.anyio
async def test_an_address_in_an_id_is_found_however_it_is_spelled(
    application: Application, spelling: str
) -> None:
    """A database may know only the case of ASCII, and no combining characters."""
    user = a_registration(email="ümit@пример.рф")
    await application.bus.handle(user, MessageOrigin(source="/shop", id=f"of {spelling}"))

    await erase(application.database, user.user_id, [], MARIA)

    [(id_,)] = await rows(
        application,
        sa.select(tables.commands.c.message_id).where(tables.commands.c.source == "/shop"),
    )
    assert id_.startswith("erased-")


@pytest.mark.anyio
async def test_the_page_reads_again_what_was_erased(application: Application) -> None:
    """It goes by the tokens of deliveries, also of those that are done."""
    before = await stored_deliveries(application)
    hers = await find_person(application.database, ANNA.user_id)

    await erase_anna(application)

    now = await stored_deliveries(application)
    changed = {str(event_id) for (event_id, _), row in now.items()}
    changed &= {str(key[0]) for key, row in now.items() if row.token > before[key].token}
    named = sa.select(tables.events.c.id).where(tables.events.c.data.contains("erased"))
    assert {str(id_) for (id_,) in await rows(application, named)} <= changed
    assert changed <= {*hers.event_ids}
