"""What every unit of work promises: the fake's and each database's."""

from collections import Counter
from contextlib import suppress
from datetime import timedelta

import anyio
import pytest
from anyio.lowlevel import checkpoint

from allocation.domain.events import CouponsRanOut, UserRegistered
from allocation.domain.exceptions import (
    CouponAlreadyAllocated,
    EmailAlreadyRegistered,
    UserNotFound,
)
from allocation.domain.model import CouponBatch, User
from allocation.domain.values import BatchReference, EmailAddress, Quantity
from allocation.service_layer.envelopes import ReceivedMessage
from allocation.service_layer.exceptions import (
    ConcurrentUpdate,
    DeliverySuperseded,
    MessageAlreadyHandled,
    NotAwaited,
    NotCommitted,
    OpenedTwice,
    WorkAfterCommit,
)
from tests.builders import HANDLER_NAMES, TODAY, a_command_envelope, a_user, a_user_id
from tests.worlds import World, a_uow

pytestmark = pytest.mark.anyio

USER_REGISTERED_HANDLERS = {
    "send_welcome_email",
    "log_registration",
    "allocate_welcome_coupon",
    "refresh_user_view",
}


async def store(world: World, *aggregates: User | CouponBatch) -> None:
    async with (uow := a_uow(world)):
        for aggregate in aggregates:
            if isinstance(aggregate, User):
                uow.users.add(aggregate)
            else:
                uow.coupon_batches.add(aggregate)
        await uow.commit()


def batch_of(quantity: int, reference: str = "WELCOME") -> CouponBatch:
    return CouponBatch.add(BatchReference(reference), Quantity(quantity))


async def test_a_commit_stores_state_events_and_one_delivery_for_each_handler(
    world: World,
) -> None:
    """All three in one transaction is what makes delivery durable."""
    uow = a_uow(world)

    async with uow:
        uow.users.add(a_user(email="ivan@example.com"))
        await uow.commit()

    assert await world.emails() == ["ivan@example.com"]
    assert await world.event_ids() == {event.id for event in uow.events}
    owed = await world.deliveries()
    assert {handler for _, handler in owed} == USER_REGISTERED_HANDLERS
    assert {row.attempts for row in owed.values()} == {1}


async def test_the_committing_process_holds_the_first_lease(world: World) -> None:
    """Otherwise a worker would do the work a second time."""
    await store(world, a_user())

    assert await world.outbox().claim(10, HANDLER_NAMES) == []
    for row in (await world.deliveries()).values():
        assert row.due_at == pytest.approx(world.policy.lease, abs=5)


async def test_leaving_without_a_commit_stores_nothing_and_is_a_mistake(world: World) -> None:
    """Work that was not finished must not be seen, nor pass for done."""
    with pytest.raises(NotCommitted):
        async with (uow := a_uow(world)):
            uow.users.add(a_user())

    assert await world.emails() == []
    assert await world.event_ids() == set()
    assert not uow.committed


async def test_a_second_commit_undoes_the_first(world: World) -> None:
    """The events of the first would be forgotten; half a mistake is hard to see."""
    with pytest.raises(WorkAfterCommit):
        async with (uow := a_uow(world)):
            uow.users.add(a_user())
            await uow.commit()
            await uow.commit()

    assert await world.emails() == []
    assert await world.deliveries() == {}


async def test_a_change_after_the_commit_undoes_it(world: World) -> None:
    """It would be lost in silence, and with it the event that it records."""
    user = a_user()
    with pytest.raises(WorkAfterCommit):
        async with (uow := a_uow(world)):
            uow.users.add(user)
            await uow.commit()
            user.change_email(EmailAddress("other@example.com"))

    assert await world.emails() == []


async def test_repositories_are_closed_after_the_commit(world: World) -> None:
    """Also for whoever swallows the error, or has kept one under another name."""
    with pytest.raises(WorkAfterCommit, match=r"uow\.users\.add\(\) was called"):
        async with (uow := a_uow(world)):
            users, add = uow.users, uow.users.add
            await uow.commit()
            for late in (uow.users.add, users.add, add):
                with suppress(WorkAfterCommit):
                    late(a_user())

    assert await world.emails() == []


async def test_only_the_bus_opens_a_unit_of_work(world: World) -> None:
    """The book's `async with uow`, in a handler, would commit before the handler has returned."""
    with pytest.raises(OpenedTwice, match="leave out `async with uow`"):
        async with (uow := a_uow(world)):
            with suppress(OpenedTwice):
                async with uow:
                    uow.users.add(a_user())
                    await uow.commit()
            await uow.commit()

    assert await world.emails() == []


async def test_what_was_not_awaited_is_not_committed(world: World) -> None:
    """Python only warns of it: the line in the log would be missing, and nobody would know."""
    user = a_user()
    with pytest.raises(NotAwaited, match=r"await uow\.registration_log\.append\("):
        async with (uow := a_uow(world)):
            uow.users.add(user)
            uow.registration_log.append(user.id, "ivan@example.com")  # type: ignore[unused-coroutine]
            await uow.commit()

    assert await world.emails() == []


async def test_nobody_commits_behind_the_end_of_a_unit_of_work(world: World) -> None:
    """A task that a handler has left behind must not open a transaction that nobody ends."""
    with pytest.raises(NotCommitted):
        async with (uow := a_uow(world)):
            uow.users.add(a_user())

    with pytest.raises(WorkAfterCommit):
        await uow.commit()
    assert await world.emails() == []


async def test_nothing_is_seen_of_a_commit_until_its_block_has_ended(world: World) -> None:
    """A handler that fails on its last line has stored nothing."""
    with pytest.raises(ZeroDivisionError):
        async with (uow := a_uow(world)):
            uow.users.add(a_user())
            await uow.commit()
            raise ZeroDivisionError

    assert not uow.committed
    assert await world.emails() == []
    assert uow.events == ()


async def test_an_error_rolls_back(world: World) -> None:
    """Half a change is worse than none."""
    with pytest.raises(ZeroDivisionError):
        async with (uow := a_uow(world)):
            uow.users.add(a_user())
            raise ZeroDivisionError

    assert await world.emails() == []
    assert await world.deliveries() == {}


async def test_cancellation_rolls_back_and_leaves_the_database_usable(world: World) -> None:
    """A cancelled request must not hold a lock, a connection or half a change."""
    with anyio.CancelScope() as scope:
        async with (uow := a_uow(world)):
            uow.users.add(a_user())
            scope.cancel()
            await checkpoint()

    assert scope.cancelled_caught
    assert await world.emails() == []
    await store(world, a_user())
    assert len(await world.emails()) == 1


async def test_a_commit_is_not_interrupted_by_cancellation(world: World) -> None:
    """Whether something was stored must be known afterwards."""
    with anyio.CancelScope() as scope:
        async with (uow := a_uow(world)):
            uow.users.add(a_user())
            await uow.commit()
            scope.cancel()

    assert uow.committed
    assert await world.emails() == ["ivan@example.com"]


async def test_events_are_available_only_after_the_commit(world: World) -> None:
    """Work that may still be rolled back must not speak."""
    async with (uow := a_uow(world)):
        uow.users.add(a_user())
        before_the_commit = uow.events
        await uow.commit()

    assert before_the_commit == ()
    assert [type(event.event) for event in uow.events] == [UserRegistered]


async def test_work_that_failed_to_commit_has_no_events(world: World) -> None:
    """An event of work that was rolled back would be a lie."""
    await store(world, a_user(email="ivan@example.com"))

    uow = a_uow(world)
    with pytest.raises(EmailAlreadyRegistered):
        async with uow:
            uow.users.add(a_user(email="ivan@example.com"))
            await uow.commit()

    assert uow.events == ()
    assert len(await world.event_ids()) == 1


async def test_what_was_stored_comes_back(world: World) -> None:
    """Mapping must not lose or change anything."""
    user = a_user(name="Иван", email="Ivan@Example.com")
    await store(world, user, batch_of(7))

    async with (uow := a_uow(world)):
        loaded = await uow.users.get(user.id)
        batch = await uow.coupon_batches.find(BatchReference("WELCOME"))
        await uow.commit()

    assert (loaded.id, loaded.name, str(loaded.email)) == (user.id, user.name, "Ivan@Example.com")
    assert loaded.version == 1
    assert batch is not None
    assert (batch.quantity, batch.remaining, batch.new_coupons) == (7, 7, ())


async def test_a_user_that_is_not_there_is_not_found(world: World) -> None:
    """`find` answers None, `get` raises: the name says which."""
    async with (uow := a_uow(world)):
        assert await uow.users.find(a_user_id()) is None
        with pytest.raises(UserNotFound):
            await uow.users.get(a_user_id())
        assert await uow.coupon_batches.find(BatchReference("NOWHERE")) is None
        await uow.commit()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ivan@example.com", "IVAN@Example.COM"),
        ("иван@пример.рф", "ИВАН@ПРИМЕР.РФ"),
        ("نامه\u200cای@example.com", "نامه\u200cای@EXAMPLE.com"),
    ],
)
async def test_an_address_belongs_to_one_user_in_any_case(
    world: World, first: str, second: str
) -> None:
    """SQL's lower() knows only ASCII; people do not care."""
    await store(world, a_user(email=first))

    with pytest.raises(EmailAlreadyRegistered, match=second):
        await store(world, a_user(email=second))

    assert await world.emails() == [first]


async def test_a_changed_address_is_unique_too(world: World) -> None:
    """The rule is about users, not about registering."""
    maria = a_user(email="maria@example.com")
    await store(world, a_user(email="ivan@example.com"), maria)

    with pytest.raises(EmailAlreadyRegistered, match=r"Ivan@example\.com"):
        async with (uow := a_uow(world)):
            (await uow.users.get(maria.id)).change_email(EmailAddress("Ivan@example.com"))
            await uow.commit()

    assert await world.emails() == ["ivan@example.com", "maria@example.com"]


async def test_registering_one_id_twice_at_once_is_a_conflict(world: World) -> None:
    """The loser tries again and finds the winner's user."""
    user = a_user(email="ivan@example.com")
    again = User.register(user.id, user.name, EmailAddress("other@example.com"))
    await store(world, user)

    with pytest.raises(ConcurrentUpdate):
        await store(world, again)


async def test_a_delivery_is_settled_with_the_commit_of_its_handler(world: World) -> None:
    """One transaction for effect and settlement is what makes the effect happen exactly once."""
    async with (uow := a_uow(world)):
        uow.users.add(a_user())
        await uow.commit()
    (delivery,) = world.policy.first_attempts(uow.events[0], ["log_registration"])

    async with (handling := a_uow(world, delivery)):
        await handling.registration_log.append(a_user_id(), "ivan@example.com")
        await handling.commit()

    assert await world.logged() == ["ivan@example.com"]
    assert "log_registration" not in {handler for _, handler in await world.deliveries()}


async def test_a_superseded_delivery_has_no_effect(world: World) -> None:
    """Two owners of one delivery must not both do the work."""
    async with (uow := a_uow(world)):
        uow.users.add(a_user())
        await uow.commit()
    (late,) = world.policy.first_attempts(uow.events[0], ["log_registration"])
    await world.move_clock(world.policy.lease + 1)
    await world.outbox().claim(10, HANDLER_NAMES)

    with pytest.raises(DeliverySuperseded):
        async with (handling := a_uow(world, late)):
            await handling.registration_log.append(a_user_id(), "ivan@example.com")
            await handling.commit()

    assert await world.logged() == []
    assert "log_registration" in {handler for _, handler in await world.deliveries()}


async def test_coupons_come_from_the_first_batch_that_has_some(world: World) -> None:
    """The order of batches is a promise, so that marketing can plan."""
    users = [a_user(email=f"user{n}@example.com") for n in range(4)]
    await store(world, *users, batch_of(2, "A"), batch_of(1, "B"))

    for user in users:
        async with (uow := a_uow(world)):
            batch = await uow.coupon_batches.next_available()
            batch.allocate(user.id, token=user.id.hex, today=TODAY)
            await uow.commit()

    assert await world.remaining() == {"A": 0, "B": 0}
    assert sorted(await world.coupon_owners()) == sorted(user.id for user in users[:3])


async def test_that_the_coupons_have_run_out_is_told_once_a_day(world: World) -> None:
    """Of each batch, and then once a day, whichever of them it is."""
    users = [a_user(email=f"user{n}@example.com") for n in range(6)]
    await store(world, *users, batch_of(1, "A"), batch_of(1, "B"))
    told: list[str] = []

    for number, user in enumerate(users):
        async with (uow := a_uow(world)):
            batch = await uow.coupon_batches.next_available()
            batch.allocate(user.id, token=user.id.hex, today=TODAY + timedelta(days=number // 5))
            await uow.commit()
        told += [e.event.batch_reference for e in uow.events if isinstance(e.event, CouponsRanOut)]

    assert (sorted(told[:2]), len(told)) == (["A", "B"], 3)


async def test_no_user_can_have_two_coupons(world: World) -> None:
    """Whatever the handlers do, and whichever batch it is from: no retry may help."""
    user = a_user()
    await store(world, user, batch_of(1, "A"), batch_of(10))

    with pytest.raises(CouponAlreadyAllocated, match=f"user {user.id} has a coupon already"):
        for token in ("1", "2"):
            async with (uow := a_uow(world)):
                batch = await uow.coupon_batches.next_available()
                batch.allocate(user.id, token=token, today=TODAY)
                await uow.commit()

    assert await world.coupon_owners() == [user.id]
    assert await world.remaining() == {"A": 0, "WELCOME": 10}


async def test_a_code_that_was_given_before_is_a_conflict(world: World) -> None:
    """The handler is run anew, with another token."""
    user, other = a_user(), a_user(email="other@example.com")
    await store(world, user, other, batch_of(10))

    with pytest.raises(ConcurrentUpdate):
        for each in (user, other):
            async with (uow := a_uow(world)):
                batch = await uow.coupon_batches.next_available()
                batch.allocate(each.id, token="1", today=TODAY)
                await uow.commit()

    assert await world.coupon_owners() == [user.id]


async def test_allocations_at_once_never_exceed_the_batch(world: World) -> None:
    """The scarce thing must not be given away twice, whatever runs at the same time."""
    users = [a_user(email=f"user{n}@example.com") for n in range(12)]
    await store(world, *users, batch_of(5))

    async def allocate(user: User) -> None:
        with suppress(ConcurrentUpdate):  # of those who go without, only one reports it
            async with (uow := a_uow(world)):
                batch = await uow.coupon_batches.next_available()
                await checkpoint()
                batch.allocate(user.id, token=user.id.hex, today=TODAY)
                await uow.commit()

    async def allocate_as_the_bus_does(user: User) -> None:
        try:
            await allocate(user)
        except ConcurrentUpdate:  # somebody else was the first to tell that there are none left
            await allocate_as_the_bus_does(user)

    async with anyio.create_task_group() as group:
        for user in users:
            group.start_soon(allocate_as_the_bus_does, user)

    owners = await world.coupon_owners()
    assert len(owners) == 5
    assert max(Counter(owners).values()) == 1
    assert await world.remaining() == {"WELCOME": 0}


async def test_a_refresh_sees_what_its_own_unit_of_work_changes(world: World) -> None:
    """Or a handler that does both would leave the list as it was, for ever."""
    user = a_user(email="old@example.com")
    await store(world, user)

    async with (uow := a_uow(world)):
        await uow.user_view.refresh(user.id)
        (await uow.users.get(user.id)).change_email(EmailAddress("new@example.com"))
        await uow.commit()

    assert [row.email for row in await world.view()] == ["new@example.com"]


async def test_refreshing_a_user_that_is_not_there_changes_nothing(world: World) -> None:
    """A read model shows what is, and raises about nothing."""
    async with (uow := a_uow(world)):
        await uow.user_view.refresh(a_user_id())
        await uow.commit()

    assert await world.view() == []


async def test_the_read_model_follows_the_aggregates(world: World) -> None:
    """It is refreshed from what is stored, so the order of events does not matter."""
    user = a_user(name="Иван", email="ivan@example.com")
    await store(world, user, batch_of(1))

    async def refresh() -> None:
        async with (uow := a_uow(world)):
            await uow.user_view.refresh(user.id)
            await uow.commit()

    await refresh()
    [row] = await world.view()
    assert (row.name, row.email, row.coupon) == ("Иван", "ivan@example.com", None)
    async with (uow := a_uow(world)):
        (await uow.coupon_batches.next_available()).allocate(user.id, token="1", today=TODAY)
        (await uow.users.get(user.id)).change_email(EmailAddress("new@example.com"))
        await uow.commit()
    await refresh()
    [row] = await world.view()
    assert (row.name, row.email, row.coupon) == ("Иван", "new@example.com", "WELCOME-1")


async def test_a_received_message_is_noted_with_the_commit_of_its_command(world: World) -> None:
    """So its command takes effect once, however often it comes."""
    message = ReceivedMessage(source="/shop", id="m1")
    async with (uow := a_uow(world, received=message)):
        uow.users.add(a_user(email="first@example.com"))
        await uow.commit()

    with pytest.raises(MessageAlreadyHandled, match="'m1' from '/shop'"):
        async with a_uow(world, received=message):
            pytest.fail("the command would be executed again")

    for other in (ReceivedMessage(source="/shop", id="m2"), ReceivedMessage(source="/x", id="m1")):
        async with (uow := a_uow(world, received=other)):
            uow.users.add(a_user(email=f"{other.id}{other.source[1:]}@example.com"))
            await uow.commit()
    assert len(await world.emails()) == 3


async def test_a_command_that_was_accepted_leaves_a_row_and_a_refused_one_none(
    world: World,
) -> None:
    """Also one that nobody could recognize: it is a part of what happened."""
    for accepted in (a_command_envelope(), a_command_envelope()):
        async with (uow := world.new_uow(accepted)):
            await uow.commit()
        assert accepted.id in await world.commands()
    with pytest.raises(NotCommitted):
        async with world.new_uow(a_command_envelope()):
            pass

    assert len(await world.commands()) == 2


async def test_a_message_whose_command_failed_is_not_noted(world: World) -> None:
    """It has to be tried again."""
    message = ReceivedMessage(source="/shop", id="m1")
    with pytest.raises(NotCommitted):
        async with (uow := a_uow(world, received=message)):
            uow.users.add(a_user())

    async with (uow := a_uow(world, received=message)):
        uow.users.add(a_user())
        await uow.commit()

    assert await world.emails() == ["ivan@example.com"]


async def test_of_two_copies_at_once_one_takes_effect(world: World) -> None:
    """The second waits for the first, and is recognized before the command could be refused."""
    message = ReceivedMessage(source="/shop", id="m1")
    outcomes: list[str] = []

    async def register() -> None:
        try:
            async with (uow := a_uow(world, received=message)):
                uow.users.add(a_user())
                await uow.commit()
            outcomes.append("stored")
        except MessageAlreadyHandled:
            outcomes.append("recognized")

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(register)

    assert sorted(outcomes) == ["recognized"] * 3 + ["stored"]
    assert len(await world.emails()) == 1
