"""A person is erased: neither name nor address is left anywhere, on each database.

The last tests are about what an erasure replaces around events: ids of messages, sums, tokens.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import quote

import anyio
import pytest
import sqlalchemy as sa
from aftercommit import Application, Envelope, MessageOrigin, testing
from aftercommit.claims import Claim, Failure
from aftercommit.deliveries import tables
from aftercommit.extensions.operations import handler_pauses
from aftercommit.extensions.operations.decisions import Decision, latest_decisions
from aftercommit.extensions.operations.erasing_persons import Traces, erase, look_for
from aftercommit.extensions.operations.shown_persons import show
from aftercommit.extensions.smtp.settings import mail_folder
from aftercommit.terminal.printing import json_line

from allocation.adapters import orm
from allocation.adapters.orm import ValueObjectType
from allocation.adapters.stored_user import ADDRESSES, NAMES, StoredUser
from allocation.bootstrap import CODEC, bootstrap
from allocation.config import Settings
from allocation.domain.commands import RecordBounce
from allocation.domain.events import UserId
from allocation.domain.users import UserNotFound
from allocation.entrypoints.app import APP
from allocation.entrypoints.maintenance import NOT_DONE, remove_kept
from allocation.service_layer.handlers import HANDLERS
from tests.builders import a_batch, a_change, a_registration, a_user_id
from tests.email_senders import RecordingEmailSender
from tests.looking import change, rows

pytestmark = pytest.mark.anyio

NAME, OLD, NEW = "Анна Грюн", "Anna@Example.com", "gruen@example.net"
ANNA = a_registration(name=NAME, email=OLD)
IVAN = a_registration(name="Иван", email="ivan@example.com")
FOR_ANNA = Decision(by="Maria", reason=f"asked by {OLD}")
BY_ANNA = Decision(by=f"Anna <{OLD}>")
SECRETS = [text.casefold() for text in (NAME, OLD, NEW)]

PERSONAL = {
    "users": {"name", "email", "email_key"},
    "user_view": {"name", "email"},
    "registration_log": {"email"},
    "aftercommit_events": {"data"},
    "aftercommit_deliveries": {"last_error"},
    "aftercommit_failures": {"error"},
    "aftercommit_decisions": {"reason", "decided_by"},
    "aftercommit_handler_pauses": {"paused_by"},
    "aftercommit_commands": {"source", "message_id"},
}
"""The columns that may hold a name or an address of a user."""
OTHERS = {
    "user_view": {"coupon_code", "coupon_state"},
    "coupons": {"code", "batch_reference", "state"},
    "coupon_batches": {"reference"},
    "aftercommit_commands": {"type", "fingerprint"},
    "aftercommit_events": {"source", "type", "subject", "handler", "traceparent"},
    "aftercommit_deliveries": {
        *("handler", "owner", "previous_owner", "lane", "limit_name", "given_up"),
    },
    "aftercommit_failures": {"handler", "owner", "outcome"},
    "aftercommit_decisions": {"decision", "handler"},
    "aftercommit_handler_pauses": {"handler"},
    "aftercommit_limits": {"name"},
    "aftercommit_schedules": {"name"},
    "aftercommit_application": {"name"},
}
"""All other columns with text."""
ID_ONLY = {"coupons"}
"""The tables that name a user, and say nothing else about the person."""
NOT_ABOUT_A_PERSON = {"batch_reference", "code"}
"""The fields of events, whichever have them, in which nobody is."""
OF_SOMEBODY_ELSE = set[str]()
"""The fields of events about a user, as `event.field`, with the name or address of another one."""
STORED_USER = "src/allocation/adapters/stored_user.py"
LEFT = {"aftercommit_commands": {"source"}}  # Ivan's source: /jo…, which looks like her address


@pytest.fixture
async def app(each_settings: Settings) -> AsyncIterator[Application]:
    """Anna has a coupon, and another address, which was refused; Ivan has a coupon, too."""
    async with bootstrap(APP, each_settings) as app:
        by_anna = MessageOrigin(source=f"/of/{OLD}", id=f"is {OLD.upper()}", fingerprint="sum")
        by_ivan = MessageOrigin(source="/jo" + OLD, id="ivan@example.com", fingerprint="sum")
        await app.bus.handle(a_batch(quantity=5))
        await app.bus.handle(ANNA, by_anna)
        await app.bus.handle(IVAN, by_ivan)
        await app.bus.handle(a_change(ANNA, new_email=NEW))
        await app.bus.handle(RecordBounce(user_id=ANNA.user_id, email=NEW))
        await fail(app, "send_welcome_email", "send_change_notice")
        for decide in (handler_pauses.pause, handler_pauses.resume):
            await decide(app.database, ["publish_event"], FOR_ANNA)
        await handler_pauses.pause(app.database, ["send_coupon_reminder"], BY_ANNA)
        yield app


async def begin_again(app: Application, *handlers: str) -> None:
    """Let deliveries of Anna's events be due as if they had never been attempted."""
    row, hers = tables.deliveries.c, tables.events.c.data.contains(str(ANNA.user_id))
    these = row.handler.in_(handlers), row.event_id.in_(sa.select(tables.events.c.id).where(hers))
    now = {"available_at": app.database.clock}
    anew = {"attempts": 0, "completed_at": None, "discarded_at": None, **now}
    await change(app, sa.update(tables.deliveries).where(*these).values(anew))


async def fail(app: Application, *handlers: str) -> None:
    """Let handlers of Anna's events fail, with an error that quotes her; some are parked."""
    await begin_again(app, *handlers)
    for claim in await claimed(app, *handlers):
        error = OSError(f"550 no mailbox of {NAME} <{OLD}>")
        retry_in = None if claim.handler == "send_change_notice" else 1000.0
        failure = Failure(delivery=claim, error=error, retry_in=retry_in)
        await app.bus.delivery_store.record_failure(failure)


async def claimed(app: Application, *handlers: str) -> Sequence[Claim]:
    return await app.bus.delivery_store.claim(10, handlers)


async def erased(app: Application, user_id: UserId = ANNA.user_id) -> int:
    """Erase a user, and no files; return how many deliveries were discarded."""
    return (await erased_with(app, StoredUser(user_id)))[1]


async def erased_with(app: Application, user: StoredUser) -> tuple[list[Traces], int]:
    """Erase a user; return what there was when files were removed, and what was discarded."""
    seen: list[Traces] = []

    async def remove(traces: Traces) -> int:
        seen.append(traces)
        return 0

    _, discarded = await erase(app, user, reason=NOT_DONE, decision=FOR_ANNA, remove=remove)
    return seen, discarded


async def found_of(app: Application, user_id: UserId = ANNA.user_id) -> Traces:
    traces, _ = await look_for(app.database, StoredUser(user_id))
    return traces


async def columns_with(app: Application, texts: Collection[str]) -> dict[str, set[str]]:
    """Look for texts in every column of every table that there is, no matter who knows of it."""
    reflected = sa.MetaData()
    async with app.database.write_transaction() as transaction:
        await transaction.run_sync(reflected.reflect)
    found: dict[str, set[str]] = {}
    for table in reflected.tables.values():
        for row in await rows(app, sa.select(table)):
            for name, value in row._asdict().items():
                if any(text in str(value).casefold() for text in texts):
                    found.setdefault(table.name, set()).add(name)
    return found


def folder_of(settings: Settings) -> Path:
    """Return where e-mails are kept."""
    folder = mail_folder(settings)
    assert folder
    return folder


async def files_with(settings: Settings, *texts: str) -> int:
    """Count the kept e-mails with one of the texts in it."""
    files = [file async for file in anyio.Path(folder_of(settings)).glob("*/*")]
    kept = [(await file.read_text("utf-8")).casefold() for file in files]
    return sum(any(text in email for text in texts) for email in kept)


async def stored_deliveries(app: Application) -> dict[tuple[Any, str], Any]:
    found = await rows(app, tables.deliveries.select())
    return {(row.event_id, row.handler): row for row in found}


async def test_a_person_is_shown_all_that_an_erasure_would_find(app: Application) -> None:
    """In each column in which a search of the whole database finds her; and who has asked."""
    await fail(app, "refresh_user_view")

    shown = await show(app, StoredUser(ANNA.user_id), "Anna's id", FOR_ANNA)

    found = dict[str, set[str]]()
    for table, its in shown["tables"].items():
        for row in its:
            for name, value in row.items():
                if any(text in str(value).casefold() for text in SECRETS):
                    found.setdefault(table, set()).add(name)
    for each in shown["mentions"]:
        table, _, name = each["column"].partition(".")
        found.setdefault(table, set()).add(name)
    assert found == PERSONAL
    assert b"not_searched" in json_line(shown)
    assert "ivan@example.com" not in json_line(shown).decode().casefold()
    looked = await latest_decisions(app.database, limit=1)
    told = [(each.decision, each.decided_by, each.reason) for each in looked]
    assert told == [("show", "Maria", f"Anna's id; {FOR_ANNA.reason}")]


async def test_neither_name_nor_address_is_left_anywhere(
    app: Application, each_settings: Settings
) -> None:
    """The search looks at all columns and files, and finds both in many before.

    Deliveries to handlers without an external effect are not discarded: their errors stay.
    """
    await fail(app, "refresh_user_view")
    assert await columns_with(app, SECRETS) == PERSONAL
    hers = await files_with(each_settings, *SECRETS)
    his = await files_with(each_settings, "ivan@example.com")
    assert hers
    assert his

    person = await found_of(app)
    await erased(app)
    assert await remove_kept(each_settings, person) == hers

    assert await columns_with(app, SECRETS) == LEFT
    assert await files_with(each_settings, *SECRETS) == 0
    of_ivan = {"users": {"name"}, "user_view": {"name"}, "aftercommit_events": {"data"}}
    assert await columns_with(app, ["иван"]) == of_ivan
    assert await files_with(each_settings, "ivan@example.com") == his


def test_every_column_with_text_was_looked_at() -> None:
    """Also a new one: anyone who adds it knows what may be in it."""
    texts = {
        (table.name, column.name)
        for table in (*orm.metadata.sorted_tables, *tables.events.metadata.sorted_tables)
        for column in table.columns
        if _is_text(column)
    }
    known = {
        (table, name) for listed in (OTHERS, PERSONAL) for table in listed for name in listed[table]
    }

    assert [
        f"{table}.{name} has text in it. If that can be about a person, let StoredUser.overwrite in"
        f" {STORED_USER} overwrite it, and add it to PERSONAL here; if not, to OTHERS"
        for table, name in sorted(texts - known)
    ] == []
    assert known - texts == set()


def test_every_table_that_refers_to_a_person_was_looked_at() -> None:
    """Erasing rewrites what it says about the person."""
    referring = {
        table.name
        for table in orm.metadata.sorted_tables
        if "user_id" in table.c or any(key.column.table is orm.users for key in table.foreign_keys)
    }

    assert [
        f"the table {name} refers to a user. Let StoredUser.overwrite in {STORED_USER} overwrite"
        " what it says about the person, and add it to PERSONAL here; if it has only the id, to"
        " ID_ONLY"
        for name in sorted(referring - PERSONAL.keys() - ID_ONLY)
    ] == []


def _is_text(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, sa.String | ValueObjectType)


def test_every_text_in_an_event_was_looked_at() -> None:
    """A new field of any event is erased, or is not about a person; that of an import is a list."""
    texts = {
        f"{event}.{name}": name
        for event, type_ in CODEC.events.items()
        for name, of in get_type_hints(type_).items()
        if of is str
    }
    persons = {field for field, name in texts.items() if name not in NOT_ABOUT_A_PERSON}

    assert [
        f"{field} is a text. Add it to NAMES or ADDRESSES in {STORED_USER} if it is the name or an"
        " address of the user whom the event is about; to OF_SOMEBODY_ELSE here if it is another"
        f" person's, and let StoredUser.find find these events for that person; or, if nobody is in"
        f" it, {texts[field].join('``')} to NOT_ABOUT_A_PERSON"
        for field in sorted(persons - OF_SOMEBODY_ELSE - NAMES - ADDRESSES)
    ] == []
    assert persons == OF_SOMEBODY_ELSE | NAMES | ADDRESSES
    assert {*texts.values()} >= NOT_ABOUT_A_PERSON


async def test_the_address_of_a_friend_is_not_taken_for_hers(app: Application) -> None:
    """Whose address a field has, depends on the event: others of this name have her own."""
    event = tables.events.c
    hers = await rows(app, tables.events.select().where(event.subject == str(ANNA.user_id)))
    made = {"id": a_user_id(), "type": "referral_made", "position": None}
    data = '{"email":"olga@example.com"}'
    await change(app, sa.insert(tables.events).values({**hers[0]._asdict(), **made, "data": data}))

    assert "olga@example.com" not in (await found_of(app)).texts
    await erased(app)

    assert await rows(app, sa.select(event.data).where(event.id == made["id"])) == [(data,)]


async def test_ids_and_times_stay_and_repeating_it_changes_nothing(app: Application) -> None:
    """What has happened, and when, is still known, and can be read. It may be interrupted."""
    event, command = tables.events.c, tables.commands.c
    kept = sa.select(*(column for column in event if column.name != "data")).order_by(event.id)
    accepted = sa.select(command.id, command.type, command.accepted_at).order_by(command.id)
    before = [await rows(app, each) for each in (kept, accepted)]

    await erased(app)

    assert [await rows(app, each) for each in (kept, accepted)] == before
    stored = await stored_deliveries(app)
    assert await erased(app) == 0
    assert await stored_deliveries(app) == stored
    await begin_again(app, "refresh_user_view")
    report = await app.bus.run(await claimed(app, "refresh_user_view"))
    assert report.failures == []


async def test_nothing_is_sent_to_her_any_more(app: Application, each_settings: Settings) -> None:
    """E-mails that are scheduled, parked, or failing are discarded, and say why; Ivan's are not."""
    emails = {"send_coupon_reminder", "send_change_notice", "send_welcome_email"}
    hers, outstanding = await look_for(app.database, StoredUser(ANNA.user_id))

    assert await erased(app) == outstanding - 1 == len(emails)  # her coupon will expire

    stored = await stored_deliveries(app)
    ended = {key: row for key, row in stored.items() if row.discarded_at}
    assert {handler for _, handler in ended} == emails
    assert {str(event_id) for event_id, _ in ended} <= {*hers.event_ids}
    assert {row.last_error for row in ended.values()} == {NOT_DONE}
    scheduled = [handler for (_, handler), row in stored.items() if row.completed_at is None]
    assert sorted(scheduled) == ["expire_coupon", "expire_coupon", "send_coupon_reminder"]

    await begin_again(app, *emails)  # or they were committed a moment too late
    assert (await app.bus.run(await claimed(app, *emails))).failures == []
    assert await files_with(each_settings, "erased") == 0


async def test_a_handler_that_runs_meanwhile_begins_again_without_the_name(
    app: Application,
) -> None:
    """Its process has read the event before, and may not store what it knows."""
    await begin_again(app, "log_registration")
    before = await claimed(app, "log_registration")
    await erased(app)

    assert (await app.bus.run(before)).failures == []
    assert await columns_with(app, SECRETS) == LEFT
    [again] = await claimed(app, "log_registration")
    assert again.attempt == 1
    assert again.message.email == f"{ANNA.user_id}@erased.invalid"  # type: ignore[attr-defined]
    assert (await app.bus.run([again])).failures == []


async def test_nobody_can_take_what_an_erasure_needs(
    app: Application, each_settings: Settings
) -> None:
    """Strangers may know ids: they take the address that hers will become."""
    taken = f"{ANNA.user_id}@ERASED.invalid"
    stranger = a_registration(name="Stranger", email=taken)
    await app.bus.handle(stranger)

    await erased(app)

    assert await columns_with(app, SECRETS) == LEFT
    user = sa.select(orm.users.c.email_key).where(orm.users.c.id == stranger.user_id)
    assert await rows(app, user) == [(taken.lower(),)]
    await begin_again(app, "send_welcome_email")
    assert (await app.bus.run(await claimed(app, "send_welcome_email"))).failures == []
    assert await files_with(each_settings, "erased") == 0
    await erased(app, stranger.user_id)
    assert await erased(app) == 0


async def test_a_user_who_has_her_old_address_now_is_left_alone(
    app: Application, each_settings: Settings
) -> None:
    """Addresses are given to others: her e-mails are found by her events."""
    await app.bus.handle(a_registration(name="Other", email=OLD))

    before = await files_with(each_settings, OLD.casefold())
    person = await found_of(app)
    await erased(app)
    await remove_kept(each_settings, person)

    found = await columns_with(app, [OLD.casefold()])
    assert found == LEFT | {
        "users": {"email", "email_key"},
        "user_view": {"email"},
        "registration_log": {"email"},
        "aftercommit_events": {"data"},
    }
    assert 0 < await files_with(each_settings, OLD.casefold()) < before


async def test_kept_emails_are_found_without_their_events(
    app: Application, each_settings: Settings
) -> None:
    """Events may have been pruned: the recipient is in the file, and the log has old addresses."""
    pruned = (sa.delete(each) for each in (tables.failures, tables.deliveries, tables.events))
    await change(app, *pruned)

    person = await found_of(app)
    another = anyio.Path(folder_of(each_settings), "new", "another")
    await another.write_text(f"To: {NEW}\n\nHello\n")

    hers = await files_with(each_settings, OLD.casefold(), NEW)
    assert await remove_kept(each_settings, person) == hers > 1
    assert await files_with(each_settings, *SECRETS) == 0
    assert await files_with(each_settings, "ivan@example.com")


async def test_a_wrong_id_is_refused(app: Application) -> None:
    """It is no silent success."""
    with pytest.raises(UserNotFound):
        await found_of(app, a_user_id())
    with pytest.raises(UserNotFound):
        await erased(app, a_user_id())


async def test_the_commands_of_others_in_the_same_trace_stay_as_they_are(app: Application) -> None:
    """Callers may share a correlation id; the sum is what another body is refused by."""
    shared, some = a_user_id(), [a_registration(email=f"user{n}@example.com") for n in (0, 1)]
    for user in some:
        said = MessageOrigin(
            source="/shop", id=user.email, fingerprint="sum", correlation_id=shared
        )
        await app.bus.handle(user, said)

    await erased(app, some[0].user_id)

    command = tables.commands.c
    sums = sa.select(command.message_id, command.fingerprint).where(command.source == "/shop")
    kept = {row for row in await rows(app, sums) if row.fingerprint}
    assert kept == {(some[1].email, "sum")}


async def test_the_sum_of_a_command_that_was_repeated_is_erased(app: Application) -> None:
    """The caller lost the first answer, and its key with it. What has been said is in the sum."""
    again = replace(ANNA, email=NEW)
    fingerprint = "another sum"
    said = MessageOrigin(source="/shop", id="another key", fingerprint=fingerprint)
    await app.bus.handle(again, said)
    kept = sa.select(tables.commands.c.id).where(tables.commands.c.fingerprint == fingerprint)
    assert len(await rows(app, kept)) == 1

    await erased(app)

    assert await rows(app, kept) == []


async def test_an_erasure_says_whom_it_has_found(app: Application) -> None:
    """Not whom somebody had found before: her address and her events may be others by then."""
    before = await found_of(app)
    await app.bus.handle(a_change(ANNA, new_email="newest@example.net"))

    [_, traces], _ = await erased_with(app, StoredUser(ANNA.user_id))

    assert {*traces.own} - {*before.own} == {"newest@example.net"}
    assert {*traces.event_ids} > {*before.event_ids}


@pytest.mark.parametrize(
    "spelling",
    [
        "ÜMIT@пример.рф",
        "ümit@ПРИМЕР.РФ",
        "u\u0308mit@пример.рф",
        quote("Ümit@пример.рф"),
        "to%3D%C3%BCmit%40пример.рф",
    ],
)
async def test_an_address_in_an_id_is_found_however_it_is_spelled(
    app: Application, spelling: str
) -> None:
    """A database may know only the case of ASCII, no combining characters, and no URLs."""
    user = a_registration(email="ümit@пример.рф")
    await app.bus.handle(user, MessageOrigin(source="/shop", id=f"of {spelling}"))

    await erased(app, user.user_id)

    command = tables.commands.c
    [(id_,)] = await rows(app, sa.select(command.message_id).where(command.source == "/shop"))
    assert id_.startswith("erased-")


async def test_the_page_reads_again_what_was_erased(app: Application) -> None:
    """It goes by the tokens of deliveries, also of those that are done."""
    before = await stored_deliveries(app)
    hers = await found_of(app)

    await erased(app)

    now = await stored_deliveries(app)
    changed = {str(event_id) for (event_id, _), row in now.items()}
    changed &= {str(key[0]) for key, row in now.items() if row.token > before[key].token}
    named = sa.select(tables.events.c.id).where(tables.events.c.data.contains("erased"))
    assert {str(id_) for (id_,) in await rows(app, named)} <= changed
    assert changed <= {*hers.event_ids}


class Shop:
    """Another service, which reads events."""

    def __init__(self) -> None:
        self.received: list[Any] = []

    async def publish(self, envelope: Envelope) -> None:
        self.received.append(envelope.event)


async def test_public_events_are_published_without_the_name(
    app_settings: Settings, emails: RecordingEmailSender
) -> None:
    """Other services wait for what is published: no public event is lost."""
    shop = Shop()
    handlers = HANDLERS.publishing_to({"shop": shop})
    async with bootstrap(APP, app_settings, handlers=handlers, notifications=emails) as app:
        await app.bus.execute(ANNA)

        await erased(app)
        await testing.let_time_pass(app, minutes=1)
        await testing.deliver_due(app)

    [registered] = [event for event in shop.received if hasattr(event, "name")]
    assert (registered.name, registered.email) == ("erased", f"{ANNA.user_id}@erased.invalid")
    assert emails.sent == []
