"""A person is erased: neither name nor address is left anywhere, on each database."""

from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import anyio
import pytest
import sqlalchemy as sa
from aftercommit.claims import Claim
from aftercommit.envelopes import MessageOrigin
from aftercommit.extensions.operations.redaction import handlers_with_effects
from aftercommit.process.application import Application
from aftercommit.sql import tables
from anyio import to_thread

from allocation.adapters import orm
from allocation.adapters.value_columns import ValueObjectType
from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.domain.commands import ChangeEmail, RecordBounce
from allocation.domain.users import UserNotFound
from allocation.erase_user.erasure import (
    ADDRESSES,
    NAMES,
    NOT_DONE,
    Person,
    erase,
    find_person,
)
from allocation.erase_user.kept_emails import remove_emails
from allocation.messages import CODEC
from allocation.service_layer.handlers import HANDLERS as TABLE
from tests.builders import FakeApplication, a_batch, a_failure, a_registration, a_user_id
from tests.fakes import FakePublisher
from tests.integration.extensions.operations.conftest import change, rows

NAME, OLD, NEW = "Анна Грюн", "Anna@Example.com", "gruen@example.net"
ANNA = a_registration(name=NAME, email=OLD)
IVAN = a_registration(name="Иван", email="ivan@example.com")
BY_IVAN = MessageOrigin(source="/jo" + OLD, id="ivan@example.com", fingerprint="sum")
SECRETS = [text.casefold() for text in (NAME, OLD, NEW)]

PERSONAL = {
    "users": {"name", "email", "email_key"},
    "user_view": {"name", "email"},
    "registration_log": {"email"},
    "aftercommit_events": {"data"},
    "aftercommit_deliveries": {"last_error"},
    "aftercommit_failures": {"error"},
    "aftercommit_commands": {"source", "message_id"},
}
"""The columns that may hold a name or an address of a user."""
OTHERS = {
    "users": set(),
    "user_view": {"coupon_code", "coupon_state"},
    "coupons": {"code", "batch_reference", "state"},
    "coupon_batches": {"reference"},
    "registration_log": set(),
    "aftercommit_commands": {"type", "fingerprint"},
    "aftercommit_events": {"source", "type", "subject", "handler", "traceparent"},
    "aftercommit_deliveries": {"handler", "owner", "previous_owner"},
    "aftercommit_failures": {"handler", "owner"},
    "aftercommit_handler_pauses": {"handler", "paused_by"},
    "aftercommit_application": {"name"},
}
NOT_ABOUT_A_PERSON = {"batch_reference", "code"}


@pytest.fixture
async def application(settings: Settings) -> AsyncIterator[Application]:
    """Anna has a coupon, and another address, which was refused; Ivan has a coupon, too."""
    async with bootstrap(settings) as application:
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
            failure = a_failure(claim, error, retry_in=None if is_last else 1000)
            await bus.outbox.record_failure(failure)
        yield application


async def begin_again(application: Application, *handlers: str) -> None:
    """Let deliveries of Anna's events be as if they had never been attempted."""
    row, hers = tables.deliveries.c, tables.events.c.data.contains(str(ANNA.user_id))
    these = row.handler.in_(handlers), row.event_id.in_(sa.select(tables.events.c.id).where(hers))
    now = {"available_at": application.database.clock}
    fresh = {"attempts": 0, "completed_at": None, "discarded_at": None, **now}
    await change(application.database, sa.update(tables.deliveries).where(*these).values(fresh))


async def claimed(application: Application, *handlers: str) -> Sequence[Claim]:
    return await application.bus.outbox.claim(10, handlers)


async def erase_anna(application: Application) -> int:
    return await erase(application.database, ANNA.user_id, handlers_with_effects(application))


async def columns_with(application: Application, texts: Collection[str]) -> dict[str, set[str]]:
    """Look for texts in every column of every table that there is, whoever knows of it."""
    tables = sa.MetaData()
    async with application.database.write_transaction() as transaction:
        await transaction.run_sync(tables.reflect)
    found: dict[str, set[str]] = {}
    for table in tables.tables.values():
        for row in await rows(application.database, sa.select(table)):
            for name, value in row._asdict().items():
                if any(text in str(value).casefold() for text in texts):
                    found.setdefault(table.name, set()).add(name)
    return found


async def removed(settings: Settings, person: Person) -> int:
    return await to_thread.run_sync(remove_emails, Path(str(settings.mail_folder)), person)


async def files_with(settings: Settings, *texts: str) -> int:
    """Count the kept e-mails with one of the texts in it."""
    files = [file async for file in anyio.Path(str(settings.mail_folder)).glob("*/*")]
    kept = [(await file.read_text("utf-8")).casefold() for file in files]
    return sum(any(text in email for text in texts) for email in kept)


async def stored_deliveries(application: Application) -> dict[tuple[Any, str], Any]:
    columns = tables.deliveries.c
    found = await rows(application.database, sa.select(*columns))
    return {(row.event_id, row.handler): row for row in found}


@pytest.mark.anyio
async def test_neither_name_nor_address_is_left_anywhere(
    application: Application, settings: Settings
) -> None:
    """The search looks at all columns and files, and finds both in many before."""
    assert await columns_with(application, SECRETS) == PERSONAL
    hers = await files_with(settings, *SECRETS)
    his = await files_with(settings, "ivan@example.com")
    assert hers
    assert his

    person = await find_person(application.database, ANNA.user_id)
    await erase_anna(application)
    assert await removed(settings, person) == hers

    assert await columns_with(application, SECRETS) == {
        "aftercommit_commands": {"source"}
    }  # Ivan's: /jo…
    assert await files_with(settings, *SECRETS) == 0
    left = {"users": {"name"}, "user_view": {"name"}, "aftercommit_events": {"data"}}
    assert await columns_with(application, ["иван"]) == left
    assert await files_with(settings, "ivan@example.com") == his


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
    [(user_id,)] = await rows(application.database, first)

    await erase(application.database, user_id, [])

    command = tables.commands.c
    sums = sa.select(command.message_id, command.fingerprint).where(command.source == "/shop")
    found = {row.message_id: row.fingerprint for row in await rows(application.database, sums)}
    assert found == {"m1": None, "m2": "sum"}


@pytest.mark.parametrize("spelling", ["ÜMIT@пример.рф", "ümit@ПРИМЕР.РФ", "u\u0308mit@пример.рф"])
@pytest.mark.anyio
async def test_an_address_in_an_id_is_found_however_it_is_spelled(
    application: Application, spelling: str
) -> None:
    """A database may know only the case of ASCII, and no combining characters."""
    user = a_registration(email="ümit@пример.рф")
    await application.bus.handle(user, MessageOrigin(source="/shop", id=f"of {spelling}"))

    await erase(application.database, user.user_id, [])

    [(id_,)] = await rows(
        application.database,
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
    assert {str(id_) for (id_,) in await rows(application.database, named)} <= changed
    assert changed <= {*hers.event_ids}


def test_every_column_with_text_was_looked_at() -> None:
    """A new one is added here: to those that are searched, or to those with nobody in them."""
    texts = {
        table.name: {column.name for column in table.columns if _is_text(column)}
        for table in (*orm.metadata.sorted_tables, *tables.metadata.sorted_tables)
    }

    assert texts == {name: OTHERS[name] | PERSONAL.get(name, set()) for name in OTHERS}


def _is_text(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, sa.String | ValueObjectType)


def test_every_text_in_an_event_was_looked_at() -> None:
    """A new field is erased, or is not about a person: an import names its lines only."""
    texts = {
        name
        for event in CODEC.events.values()
        for name, type_ in get_type_hints(event).items()
        if type_ is str
    }

    assert texts - NOT_ABOUT_A_PERSON == NAMES | ADDRESSES


@pytest.mark.anyio
async def test_ids_and_times_stay(application: Application) -> None:
    """Of events and commands: what has happened, and when, is still known, and can be read."""
    event, command = tables.events.c, tables.commands.c
    kept = sa.select(*(column for column in event if column.name != "data")).order_by(event.id)
    accepted = sa.select(command.id, command.type, command.accepted_at).order_by(command.id)
    before = [await rows(application.database, each) for each in (kept, accepted)]

    await erase_anna(application)

    assert [await rows(application.database, each) for each in (kept, accepted)] == before
    await begin_again(application, "refresh_user_view")
    report = await application.bus.run(await claimed(application, "refresh_user_view"))
    assert report.failures == []


@pytest.mark.anyio
async def test_nothing_is_sent_to_her_any_more(
    application: Application, settings: Settings
) -> None:
    """E-mails that are scheduled, parked, or failing are discarded, and say why; Ivan's are not."""
    emails = {"send_coupon_reminder", "send_change_notice", "send_welcome_email"}
    hers = await find_person(application.database, ANNA.user_id)

    assert await erase_anna(application) == len(emails)

    stored = await stored_deliveries(application)
    ended = {key: row for key, row in stored.items() if row.discarded_at}
    assert {(str(event_id), handler) for event_id, handler in ended} < {
        (event_id, handler) for event_id in hers.event_ids for handler in emails
    }
    assert {row.last_error for row in ended.values()} == {NOT_DONE}
    scheduled = [handler for (_, handler), row in stored.items() if row.completed_at is None]
    assert sorted(scheduled) == ["expire_coupon", "expire_coupon", "send_coupon_reminder"]

    await begin_again(application, *emails)  # or it was committed a moment too late
    sent = await claimed(application, *emails)
    assert (await application.bus.run(sent)).failures == []
    assert await files_with(settings, "erased") == 0


@pytest.mark.anyio
async def test_what_runs_begins_again_without_the_name(application: Application) -> None:
    """Its process has read the event before, and may not store what it knows."""
    await begin_again(application, "log_registration")
    before = await claimed(application, "log_registration")
    await erase_anna(application)

    assert (await application.bus.run(before)).failures == []
    assert await columns_with(application, SECRETS) == {"aftercommit_commands": {"source"}}
    again = await claimed(application, "log_registration")
    assert [(each.attempt, each.message.email) for each in again] == [  # type: ignore[attr-defined]
        (1, f"{ANNA.user_id}@erased.invalid")
    ]
    assert (await application.bus.run(again)).failures == []


@pytest.mark.anyio
async def test_repeating_it_does_no_harm(application: Application) -> None:
    """It may have been interrupted, or what ran then has come to its end since."""
    await erase_anna(application)
    before = await stored_deliveries(application)

    assert await erase_anna(application) == 0

    assert await stored_deliveries(application) == before
    assert await columns_with(application, SECRETS) == {"aftercommit_commands": {"source"}}


@pytest.mark.anyio
async def test_nobody_can_take_what_an_erasure_needs(
    application: Application, settings: Settings
) -> None:
    """Strangers may know ids: they take the address to come, and the id of a message to come."""
    by_anna = MessageOrigin(source="/shop", id=f"changes {NEW}")
    await application.bus.handle(RecordBounce(user_id=ANNA.user_id, email=NEW), by_anna)
    hers = sa.select(tables.commands.c.id).where(tables.commands.c.message_id == by_anna.id)
    [(command_id,)] = await rows(application.database, hers)
    taken = f"{ANNA.user_id}@ERASED.invalid"
    stranger = a_registration(name="Stranger", email=taken)
    said = MessageOrigin(source="/shop", id=f"erased-{command_id}")
    await application.bus.handle(stranger, said)

    await erase_anna(application)

    assert await columns_with(application, SECRETS) == {"aftercommit_commands": {"source"}}
    user = sa.select(orm.users.c.email_key).where(orm.users.c.id == stranger.user_id)
    assert await rows(application.database, user) == [(taken.lower(),)]
    await begin_again(application, "send_welcome_email")
    again = await claimed(application, "send_welcome_email")
    assert (await application.bus.run(again)).failures == []
    assert await files_with(settings, "erased") == 0  # the address is as unreachable as before
    await erase(application.database, stranger.user_id, [])
    assert await erase_anna(application) == 0


@pytest.mark.anyio
async def test_who_holds_her_old_address_now_is_left_alone(
    application: Application, settings: Settings
) -> None:
    """Addresses are given to others; hers goes by her events, not by what an address looks like."""
    another = a_registration(name="Other", email=OLD)
    await application.bus.handle(another)

    person = await find_person(application.database, ANNA.user_id)
    await erase_anna(application)
    await removed(settings, person)

    found = await columns_with(application, [OLD.casefold()])
    assert found.pop("aftercommit_commands") == {"source"}
    assert found.keys() == {"users", "user_view", "registration_log", "aftercommit_events"}
    assert await files_with(settings, OLD.casefold())


@pytest.mark.anyio
async def test_kept_emails_are_found_without_their_events(
    application: Application, settings: Settings
) -> None:
    """Events may have been pruned: the recipient is in the file."""
    await change(
        application.database,
        sa.delete(tables.failures),
        sa.delete(tables.deliveries),
        sa.delete(tables.events),
    )

    person = await find_person(application.database, ANNA.user_id)
    another = anyio.Path(str(settings.mail_folder), "new", "another")
    await another.write_text(f"To: {NEW}\n\nHello\n")

    hers = await files_with(settings, OLD.casefold(), NEW)
    assert await removed(settings, person) == hers > 1  # the log of registrations has the old one
    assert await files_with(settings, *SECRETS) == 0
    assert await files_with(settings, "ivan@example.com")


@pytest.mark.anyio
async def test_nobody_is_erased_who_is_not_there(application: Application) -> None:
    """A wrong id is no silent success."""
    with pytest.raises(UserNotFound):
        await find_person(application.database, a_user_id())
    with pytest.raises(UserNotFound):
        await erase(application.database, a_user_id(), [])


def test_what_is_published_is_not_owed_to_the_person() -> None:
    """Other services get the event, without the name: no public event is lost."""
    bus = FakeApplication(event_handlers=TABLE.publishing_to({"x": FakePublisher()}).events).bus
    names = {name: name for name in (*bus.registry.events, "not_configured_here")}
    application: Any = SimpleNamespace(bus=bus, handlers=names)

    found = handlers_with_effects(application)

    assert set(found) == {
        "not_configured_here",
        "notify_marketing",
        "send_change_notice",
        "send_coupon_email",
        "send_coupon_reminder",
        "send_welcome_email",
    }
