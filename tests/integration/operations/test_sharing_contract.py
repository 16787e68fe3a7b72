"""What commands that share one transaction promise: on each database, all of them or none."""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from allocation.adapters import orm
from allocation.adapters.operations.sharing import Sharing
from allocation.bootstrap import Application, bootstrap
from allocation.config import Settings
from allocation.domain.commands import ChangeEmail, Command
from allocation.domain.exceptions import EmailAlreadyRegistered, InvalidValue, UserNotFound
from allocation.domain.values import EmailAddress
from allocation.entrypoints.operations.together import execute_all
from allocation.service_layer.envelopes import Envelope, ReceivedMessage
from allocation.service_layer.exceptions import (
    ConcurrentUpdate,
    MessageAlreadyHandled,
    NotCommitted,
    WorkAfterCommit,
)
from allocation.service_layer.facts import Begun, Ended, Executed, Fact
from tests.builders import a_batch, a_command_envelope, a_registration, a_user, a_user_id

pytestmark = pytest.mark.anyio

SOURCE = ReceivedMessage(source="test")


@pytest.fixture
async def application(settings: Settings) -> AsyncIterator[Application]:
    async with bootstrap(settings) as application:
        yield application


@pytest.fixture
def sharing(application: Application) -> Sharing:
    bus = application.bus
    return Sharing(application.database, bus.policy, bus.envelope_factory)


async def together(
    application: Application,
    sharing: Sharing,
    *commands: Command,
    received: ReceivedMessage = SOURCE,
    told: list[Fact] | None = None,
) -> list[tuple[Envelope, ...]]:
    bus = replace(application.bus, observers=[(told if told is not None else []).append])
    users = [user_id for command in commands if (user_id := getattr(command, "user_id", None))]
    return await execute_all(bus, sharing, commands, received, users=users)


async def rows(application: Application, *columns: sa.ColumnElement[Any]) -> Sequence[sa.Row[Any]]:
    async with application.database.reading() as session:
        return (await session.execute(sa.select(*columns))).all()


async def emails(application: Application) -> list[str]:
    return sorted(str(email) for (email,) in await rows(application, orm.users.c.email))


async def nothing_is_stored(application: Application) -> bool:
    tables = (orm.users, orm.commands, orm.events, orm.deliveries)
    return not [row for table in tables for row in await rows(application, *table.c)]


async def test_a_unit_that_changes_a_user_may_refresh_the_list(
    application: Application, sharing: Sharing
) -> None:
    """It is done with its commit, as where it has a transaction of its own."""
    registration = a_registration(email="old@example.com")
    await application.bus.execute(registration)

    async with (
        sharing.one_transaction(users=[registration.user_id]) as new_uow,
        (uow := new_uow(a_command_envelope())),
    ):
        user = await uow.users.get(registration.user_id)
        user.change_email(EmailAddress("new@example.com"))
        await uow.user_view.refresh(user.id)
        await uow.commit()

    assert await rows(application, orm.user_view.c.email) == [("new@example.com",)]


async def test_each_command_has_its_own_row_and_story(
    application: Application, sharing: Sharing
) -> None:
    """As if it had been executed alone: the commit is all that they share."""
    commands = [a_registration(email=f"user{n}@example.com") for n in range(3)]

    events = await together(application, sharing, *commands)

    stored = {row.id: row for row in await rows(application, *orm.commands.c)}
    assert [len(of_one) for of_one in events] == [1, 1, 1]
    assert {event.context.causation_id for (event,) in events} == set(stored)
    assert {event.context.correlation_id for (event,) in events} == set(stored)
    assert {row.source for row in stored.values()} == {"test"}
    assert [event.subject for (event,) in events] == [str(c.user_id) for c in commands]
    ids = {row.id for row in await rows(application, orm.events.c.id)}
    assert ids == {event.id for (event,) in events}
    owed = await rows(application, orm.deliveries.c.event_id, orm.deliveries.c.attempts)
    assert {tuple(row) for row in owed} == {(event_id, 1) for event_id in ids}
    assert len(owed) == 3 * 4


@pytest.mark.parametrize("bad", [0, 2, 4])
async def test_one_that_is_refused_spoils_all(
    application: Application, sharing: Sharing, bad: int
) -> None:
    """Nothing is stored and nobody is told; alone, it gets its refusal and the others do not."""
    commands: list[Command] = [a_registration(email=f"user{n}@example.com") for n in range(4)]
    commands.insert(bad, ChangeEmail(user_id=a_user_id(), new_email="ivan@example.com"))
    told: list[Fact] = []

    with pytest.raises(UserNotFound):
        await together(application, sharing, *commands, told=told)

    ended = [fact for fact in told if isinstance(fact, Ended)]
    assert len(ended) == bad + 1
    assert {fact.error for fact in ended} == {None}  # who is refused alone says why
    assert not [fact for fact in told if isinstance(fact, Executed)]
    told.clear()
    assert await nothing_is_stored(application)
    with pytest.raises(UserNotFound):
        await application.bus.execute(commands.pop(bad))
    await together(application, sharing, *commands, told=told)
    assert [type(fact) for fact in told] == [Begun, Ended] * 4 + [Executed] * 4
    executed = [fact for fact in told if isinstance(fact, Executed)]
    assert [fact.command for fact in executed] == commands
    assert len(await emails(application)) == 4


async def test_what_only_the_database_can_refuse_spoils_all(
    application: Application, sharing: Sharing
) -> None:
    """It is not known then which of them it was: each alone says it."""
    await application.bus.execute(a_registration(email="ivan@example.com"))
    commands = [a_registration(email="maria@example.com"), a_registration(email="IVAN@example.com")]

    with pytest.raises(ConcurrentUpdate):
        await together(application, sharing, *commands)

    assert await emails(application) == ["ivan@example.com"]
    assert len(await rows(application, *orm.commands.c)) == 1
    with pytest.raises(EmailAlreadyRegistered):
        await application.bus.execute(commands[1])


async def test_each_sees_what_those_before_it_have_done(
    application: Application, sharing: Sharing
) -> None:
    """Also while that is not written yet."""
    known, new = a_registration(email="ivan@example.com"), a_registration(email="a@example.com")
    await application.bus.execute(known)
    changes = [
        ChangeEmail(user_id=user_id, new_email=email)
        for user_id, email in (
            (new.user_id, "b@example.com"),
            (known.user_id, "a@example.com"),
            (known.user_id, "c@example.com"),
        )
    ]

    events = await together(application, sharing, known, new, new, *changes, a_batch(), a_batch())

    assert [len(of_one) for of_one in events] == [0, 1, 0, 1, 1, 1, 0, 0]
    assert len({event.context.causation_id for of_one in events for event in of_one}) == 4
    assert await emails(application) == ["b@example.com", "c@example.com"]
    assert [row.remaining for row in await rows(application, *orm.coupon_batches.c)] == [10]


async def test_a_refusal_that_is_swallowed_spoils_all_the_same(
    application: Application, sharing: Sharing
) -> None:
    """What it left in the transaction would be committed with the others."""
    with pytest.raises(ConcurrentUpdate):
        async with sharing.one_transaction(users=[]) as new_uow:
            with suppress(InvalidValue):
                async with (uow := new_uow(a_command_envelope())):
                    uow.users.add(a_user())
                    EmailAddress("nobody")

    assert await nothing_is_stored(application)


async def test_none_may_begin_after_one_that_is_not_whole(sharing: Sharing) -> None:
    """It would be in vain."""
    with pytest.raises(ConcurrentUpdate):
        async with sharing.one_transaction(users=[]) as new_uow:
            with suppress(NotCommitted):
                async with new_uow(a_command_envelope()):
                    pass
            async with new_uow(a_command_envelope()):
                pass


@pytest.mark.parametrize("late", ["changed", "added"])
async def test_work_after_the_commit_is_refused(
    application: Application, sharing: Sharing, late: str
) -> None:
    """Though it could still be written: alone, it could not, and there is one rule."""
    user = a_user()

    with pytest.raises(WorkAfterCommit):
        async with (
            sharing.one_transaction(users=[]) as new_uow,
            (uow := new_uow(a_command_envelope())),
        ):
            uow.users.add(user)
            add = uow._session.add  # type: ignore[attr-defined]
            await uow.commit()
            if late == "changed":
                user.email = EmailAddress("other@example.com")
            else:
                add(a_user(email="other@example.com"))

    assert await nothing_is_stored(application)


async def test_a_message_that_was_handled_before_spoils_all(
    application: Application, sharing: Sharing
) -> None:
    """Alone, it is recognized."""
    received = ReceivedMessage(source="shop", id="m1")
    first, second = a_registration(), a_registration(email="maria@example.com")

    with pytest.raises(ConcurrentUpdate):
        await together(application, sharing, first, second, received=received)

    assert await nothing_is_stored(application)
    await application.bus.execute(first, received)
    with pytest.raises(MessageAlreadyHandled):
        await application.bus.execute(second, received)


async def test_the_same_by_two_at_once_is_stored_once(
    application: Application, sharing: Sharing
) -> None:
    """One of them has nothing to do then, or is refused, and tries each alone."""
    commands = [a_registration(email=f"user{n}@example.com") for n in range(20)]
    outcomes: list[int | None] = []

    async def register() -> None:
        try:
            outcomes.append(sum(map(len, await together(application, sharing, *commands))))
        except ConcurrentUpdate:
            outcomes.append(None)

    async with anyio.create_task_group() as group:
        group.start_soon(register)
        group.start_soon(register)

    assert outcomes.count(20) == 1
    assert len(await emails(application)) == 20
    assert len(await rows(application, *orm.events.c)) == 20


async def test_cancellation_leaves_nothing_behind(
    application: Application, sharing: Sharing
) -> None:
    """All or nothing, whenever it comes."""
    with anyio.CancelScope() as scope:
        async with sharing.one_transaction(users=[]) as new_uow:
            async with (uow := new_uow(a_command_envelope())):
                uow.users.add(a_user())
                await uow.commit()
            scope.cancel()

    assert scope.cancelled_caught
    assert await nothing_is_stored(application)
