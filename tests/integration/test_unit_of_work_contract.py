"""What every unit of work promises: the fake's and each database's."""

import gc
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import anyio
import pytest
from aftercommit.claims import Claim, CommandWork, Committed
from aftercommit.envelopes import INTERNAL, MessageOrigin
from aftercommit.errors import ConcurrentUpdate, DeliverySuperseded, MessageAlreadyHandled
from anyio.lowlevel import checkpoint

from allocation.domain.aggregate import Aggregate
from allocation.domain.coupons import (
    BatchReference,
    CouponAlreadyAllocated,
    CouponBatch,
    CouponBatchNotFound,
    CouponCode,
    CouponIsExpired,
    CouponNotFound,
    Quantity,
)
from allocation.domain.events import (
    CouponBatchExhausted,
    CouponDenied,
    CouponExpired,
    CouponRedeemed,
    UserId,
)
from allocation.domain.users import EmailAlreadyRegistered, User, UserNotFound
from allocation.domain.values import EmailAddress
from allocation.service_layer.read_model_types import UserRow
from tests.builders import HANDLER_NAMES, TODAY, a_command_envelope, a_user, a_user_id
from tests.things import (
    HANDLERS_OF_THING_MADE,
    Thing,
    ThingBroken,
    ThingMade,
    a_thing,
    a_thing_id,
    things_of,
    write,
)
from tests.worlds import Unit, World, a_uow

pytestmark = pytest.mark.anyio


async def store(world: World, *aggregates: Aggregate) -> None:
    async with a_uow(world) as uow:
        for aggregate in aggregates:
            uow._store.add(aggregate)


def claims_of(handler: str, scope: Unit) -> list[Claim]:
    return [claim for claim in scope.committed.claims if claim.handler == handler]


def batch_of(quantity: int, reference: str = "WELCOME") -> CouponBatch:
    return CouponBatch.add(BatchReference(reference), Quantity(quantity))


async def test_a_commit_stores_state_events_and_one_delivery_for_each_handler(
    world: World,
) -> None:
    """All three in one transaction is what makes delivery durable."""
    async with (scope := a_uow(world)) as uow:
        things_of(uow).add(a_thing("ivan"))

    assert await world.things() == ["ivan"]
    assert await world.event_ids() == {event.id for event in scope.committed.events}
    owed = await world.deliveries()
    assert {handler for _, handler in owed} == {*HANDLERS_OF_THING_MADE}
    assert {row.attempts for row in owed.values()} == {1}


async def test_a_unit_of_work_cannot_be_opened_or_committed_by_a_handler(world: World) -> None:
    """The habit of the book, `async with uow`, would commit in the middle of a handler."""
    async with a_uow(world) as uow:
        assert not {"__aenter__", "__aexit__", "commit"} & set(dir(uow))


async def test_nothing_is_stored_after_the_end_of_a_unit_of_work(world: World) -> None:
    """A task that a handler has left behind must not open a transaction that nobody ends."""
    async with a_uow(world) as uow:
        pass

    with suppress(Exception):
        things_of(uow).add(a_thing())
    with pytest.raises(Exception, match=r"(?i)closed|over"):
        await things_of(uow).find(a_thing_id())

    await store(world, a_thing("other"))
    assert await world.things() == ["other"]


async def test_an_event_is_stored_also_if_nothing_else_has_changed(world: World) -> None:
    """And though nobody holds the aggregate any more that has recorded it."""
    thing = a_thing()
    await store(world, thing)

    async with (scope := a_uow(world)) as uow:
        (await things_of(uow).get(thing.id)).record(ThingBroken(thing_id=thing.id))
        gc.collect()

    assert len(scope.committed.events) == 1
    assert {event.id for event in scope.committed.events} <= await world.event_ids()


async def test_the_event_of_a_batch_that_never_was_is_stored(world: World) -> None:
    """The user goes without a coupon, and somebody may want to know."""
    async with (scope := a_uow(world)) as uow:
        (await uow.coupon_batches.next_available()).allocate(a_user_id(), token="1", today=TODAY)

    assert [type(event.event) for event in scope.committed.events] == [CouponDenied]
    assert await world.coupons_left() == {}


async def test_the_event_of_an_aggregate_behind_another_one_is_stored(world: World) -> None:
    """It was made through the other one, and is stored with it. What is none is passed over."""
    thing = a_thing()

    class Pair(Aggregate):
        """It makes a thing, as others make lines of an order."""

        @property
        def key(self) -> str:
            return "PAIR"

        @property
        def new_parts(self) -> tuple[Any, ...]:
            return (thing,)

    async with (scope := a_uow(world)) as uow:
        uow._store.seen += [object(), Pair()]

    assert [type(event.event) for event in scope.committed.events] == [ThingMade]
    assert await world.things() == ["lamp"]


async def test_an_error_rolls_back(world: World) -> None:
    """Half a change is worse than none."""
    with pytest.raises(ZeroDivisionError):
        async with a_uow(world) as uow:
            things_of(uow).add(a_thing())
            raise ZeroDivisionError

    assert await world.things() == []
    assert await world.deliveries() == {}


async def test_cancellation_rolls_back_and_leaves_the_database_usable(world: World) -> None:
    """A cancelled request must not hold a lock, a connection or half a change."""
    with anyio.CancelScope() as scope:
        async with a_uow(world) as uow:
            things_of(uow).add(a_thing())
            scope.cancel()
            await checkpoint()

    assert scope.cancelled_caught
    assert await world.things() == []
    await store(world, a_thing())
    assert len(await world.things()) == 1


async def test_events_and_claims_are_available_only_after_the_commit(world: World) -> None:
    """Work that may still be rolled back must not speak."""
    async with (scope := a_uow(world)) as uow:
        things_of(uow).add(a_thing())
        before_the_commit = scope.committed

    assert before_the_commit == Committed()
    assert [type(event.event) for event in scope.committed.events] == [ThingMade]
    assert {claim.handler for claim in scope.committed.claims} == {*HANDLERS_OF_THING_MADE}


async def test_work_that_failed_to_commit_has_no_events(world: World) -> None:
    """An event of work that was rolled back would be a lie."""
    await store(world, thing := a_thing())

    with pytest.raises(ConcurrentUpdate):
        async with (scope := a_uow(world)) as uow:
            things_of(uow).add(a_thing(thing_id=thing.id))

    assert scope.committed == Committed()
    assert len(await world.event_ids()) == 1


async def test_what_was_stored_comes_back(world: World) -> None:
    """Mapping must not lose or change anything."""
    user = a_user(name="Иван", email="Ivan@Example.com")
    await store(world, user)

    async with a_uow(world) as uow:
        loaded = await uow.users.get(user.id)

    assert (loaded.id, loaded.name, str(loaded.email)) == (user.id, user.name, "Ivan@Example.com")
    assert loaded.version == 1


async def test_a_batch_that_was_stored_comes_back(world: World) -> None:
    """With all that it has, but what is new in it."""
    await store(world, batch_of(7))

    async with a_uow(world) as uow:
        batch = await uow.coupon_batches.get(BatchReference("WELCOME"))

    assert (batch.quantity, batch.remaining, batch.new_coupons) == (7, 7, ())


async def test_what_is_not_there_is_not_found(world: World) -> None:
    """`find` answers None, `get` raises: the name says which."""
    async with a_uow(world) as uow:
        assert await uow.users.find(a_user_id()) is None
        with pytest.raises(UserNotFound):
            await uow.users.get(a_user_id())
        assert await uow.coupon_batches.find(BatchReference("NOWHERE")) is None
        with pytest.raises(CouponBatchNotFound, match="NOWHERE"):
            await uow.coupon_batches.get(BatchReference("NOWHERE"))


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
        async with a_uow(world) as uow:
            (await uow.users.get(maria.id)).change_email(EmailAddress("Ivan@example.com"))

    assert await world.emails() == ["ivan@example.com", "maria@example.com"]


async def test_another_spelling_of_an_address_is_stored(world: World) -> None:
    """It is the same address, and yet another value: e-mails go to it as it is spelled."""
    ivan = a_user(email="Ivan@example.com")
    await store(world, ivan)

    async with (scope := a_uow(world)) as uow:
        (await uow.users.get(ivan.id)).change_email(EmailAddress("ivan@example.com"))

    assert len(scope.committed.events) == 1
    assert await world.emails() == ["ivan@example.com"]


async def test_a_rule_that_the_database_checks_is_known_also_before_the_commit(
    world: World,
) -> None:
    """A query writes what was changed: what that violates is no other error than at the end."""
    await store(world, a_user(email="ivan@example.com"))

    with pytest.raises(EmailAlreadyRegistered):
        async with a_uow(world) as uow:
            uow.users.add(a_user(email="ivan@example.com"))
            await uow.coupon_batches.next_available()


async def test_one_id_twice_at_once_is_a_conflict(world: World) -> None:
    """The loser tries again and finds what the winner has made."""
    await store(world, thing := a_thing())

    with pytest.raises(ConcurrentUpdate):
        await store(world, a_thing("other", thing_id=thing.id))


async def test_the_registration_log_is_a_part_of_the_unit_of_work(world: World) -> None:
    """Like all else, it is written with the commit, and not without it or after it."""
    async with world.new_uow(logging := a_command_envelope()) as uow:
        await uow.registration_log.append(a_user_id(), "ivan@example.com")
    with pytest.raises(ZeroDivisionError):
        async with a_uow(world) as uow:
            await uow.registration_log.append(a_user_id(), "lost@example.com")
            raise ZeroDivisionError
    with pytest.raises(Exception, match=r"(?i)closed|over"):
        await uow.registration_log.append(a_user_id(), "late@example.com")

    assert await world.logged() == ["ivan@example.com"]
    assert await world.commands() == {logging.id}


async def test_a_delivery_is_settled_with_the_commit_of_its_handler(world: World) -> None:
    """One transaction for effect and settlement is what makes the effect happen exactly once."""
    async with (scope := a_uow(world)) as uow:
        things_of(uow).add(a_thing())
    (delivery,) = claims_of("write_down", scope)

    async with a_uow(world, delivery) as handling:
        write(handling, "ivan")

    assert await world.lines() == ["ivan"]
    assert "write_down" not in {handler for _, handler in await world.deliveries()}


async def test_a_superseded_delivery_has_no_effect(world: World) -> None:
    """Two owners of one delivery must not both do the work."""
    async with (scope := a_uow(world)) as uow:
        things_of(uow).add(a_thing())
    (late,) = claims_of("write_down", scope)
    await world.move_clock(world.policy.lease_seconds + 1)
    await world.outbox().claim(10, HANDLER_NAMES)

    with pytest.raises(DeliverySuperseded):
        async with a_uow(world, late) as handling:
            write(handling, "ivan")

    assert await world.lines() == []
    assert "write_down" in {handler for _, handler in await world.deliveries()}


async def test_coupons_come_from_the_first_batch_that_has_some(world: World) -> None:
    """The order of batches is a promise, so that marketing can plan."""
    users = [a_user(email=f"user{n}@example.com") for n in range(4)]
    await store(world, *users, batch_of(2, "A"), batch_of(1, "B"))

    for user in users:
        async with a_uow(world) as uow:
            batch = await uow.coupon_batches.next_available()
            batch.allocate(user.id, token=user.id.hex, today=TODAY)

    assert await world.coupons_left() == {"A": 0, "B": 0}
    assert sorted(await world.coupon_owners()) == sorted(user.id for user in users[:3])


async def test_that_the_coupons_have_run_out_is_told_once_a_day(world: World) -> None:
    """Of each batch, and then once a day, whichever of them it is."""
    users = [a_user(email=f"user{n}@example.com") for n in range(6)]
    await store(world, *users, batch_of(1, "A"), batch_of(1, "B"))
    told: list[str] = []

    for number, user in enumerate(users):
        async with (scope := a_uow(world)) as uow:
            batch = await uow.coupon_batches.next_available()
            batch.allocate(user.id, token=user.id.hex, today=TODAY + timedelta(days=number // 5))
        facts = [envelope.event for envelope in scope.committed.events]
        told += [fact.batch_reference for fact in facts if isinstance(fact, CouponBatchExhausted)]

    assert (sorted(told[:2]), len(told)) == (["A", "B"], 3)


async def test_no_user_can_have_two_coupons(world: World) -> None:
    """Whatever the handlers do, and whichever batch it is from: no retry may help."""
    user = a_user()
    await store(world, user, batch_of(1, "A"), batch_of(10))

    with pytest.raises(CouponAlreadyAllocated, match=f"user {user.id} has a coupon already"):
        for token in ("1", "2"):
            async with a_uow(world) as uow:
                batch = await uow.coupon_batches.next_available()
                batch.allocate(user.id, token=token, today=TODAY)

    assert await world.coupon_owners() == [user.id]
    assert await world.coupons_left() == {"A": 0, "WELCOME": 10}


async def test_a_code_that_was_given_before_is_a_conflict(world: World) -> None:
    """The handler is run anew, with another token."""
    user, other = a_user(), a_user(email="other@example.com")
    await store(world, user, other, batch_of(10))

    with pytest.raises(ConcurrentUpdate):
        for each in (user, other):
            async with a_uow(world) as uow:
                batch = await uow.coupon_batches.next_available()
                batch.allocate(each.id, token="1", today=TODAY)

    assert await world.coupon_owners() == [user.id]


async def test_allocating_at_once_never_exceeds_the_batch(world: World) -> None:
    """The scarce thing must not be given away twice, whatever runs at the same time."""
    users = [a_user(email=f"user{n}@example.com") for n in range(12)]
    await store(world, *users, batch_of(5))

    async def allocate(user: User) -> None:
        with suppress(ConcurrentUpdate):  # of those who go without, only one reports it
            async with a_uow(world) as uow:
                batch = await uow.coupon_batches.next_available()
                await checkpoint()
                batch.allocate(user.id, token=user.id.hex, today=TODAY)

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
    assert await world.coupons_left() == {"WELCOME": 0}


async def a_coupon_for(world: World, user: User) -> CouponCode:
    async with a_uow(world) as uow:
        batch = await uow.coupon_batches.next_available()
        coupon = batch.allocate(user.id, token=user.id.hex, today=TODAY)
    assert coupon is not None
    return coupon.code


async def test_a_coupon_is_found_by_its_code_and_keeps_what_became_of_it(world: World) -> None:
    """At the till, nobody knows more of it."""
    user, redemption_id = a_user(), uuid4()
    await store(world, user, batch_of(1))
    code = await a_coupon_for(world, user)

    async with a_uow(world) as uow:
        (await uow.coupons.get(code)).redeem(redemption_id)

    async with a_uow(world) as uow:
        coupon = await uow.coupons.get(code)
        with pytest.raises(CouponNotFound):
            await uow.coupons.get(CouponCode("WELCOME-2"))
    assert (coupon.user_id, coupon.code, str(coupon.batch_reference), coupon.state) == (
        user.id,
        code,
        "WELCOME",
        "redeemed",
    )
    assert (coupon.redemption_id, coupon.version) == (redemption_id, 2)


async def test_of_redeeming_and_expiring_at_once_one_wins(world: World) -> None:
    """Or a coupon would be spent whose place somebody else has, or a place would be lost."""
    users = [a_user(email=f"user{n}@example.com") for n in range(6)]
    await store(world, *users, batch_of(6))
    codes = [await a_coupon_for(world, user) for user in users]
    ends: list[UserId] = []

    async def end(code: CouponCode, *, by_redeeming: bool) -> None:
        try:
            async with (scope := a_uow(world)) as uow:
                coupon = await uow.coupons.get(code)
                await checkpoint()
                coupon.redeem(uuid4()) if by_redeeming else coupon.expire()
        except ConcurrentUpdate:  # as the bus does
            await end(code, by_redeeming=by_redeeming)
        except CouponIsExpired:
            pass
        events = [envelope.event for envelope in scope.committed.events]
        ends.extend(e.user_id for e in events if isinstance(e, CouponRedeemed | CouponExpired))

    async with anyio.create_task_group() as group:
        for number, code in enumerate(codes):
            for by_redeeming in (number % 2 == 0, number % 2 == 1):
                group.start_soon(partial(end, code, by_redeeming=by_redeeming))

    assert sorted(ends) == sorted(user.id for user in users)


async def test_giving_back_and_allocating_at_once_loses_no_place(world: World) -> None:
    """Many coupons expire on the same day, and each is worth what it was."""
    users = [a_user(email=f"user{n}@example.com") for n in range(8)]
    await store(world, *users, batch_of(8))
    for user in users[:4]:
        await a_coupon_for(world, user)

    async def give_back() -> None:
        async with a_uow(world) as uow:
            batch = await uow.coupon_batches.get(BatchReference("WELCOME"))
            await checkpoint()
            batch.give_back()

    async with anyio.create_task_group() as group:
        for user in users[4:]:
            group.start_soon(give_back)
            group.start_soon(a_coupon_for, world, user)

    assert await world.coupons_left() == {"WELCOME": 4}
    assert len(await world.coupon_owners()) == 8


async def test_a_batch_that_was_changed_and_is_loaded_again_keeps_the_change(world: World) -> None:
    """What is loaded is what is stored, so what is changed is stored first."""
    await store(world, user := a_user(), batch_of(2))

    async with a_uow(world) as uow:
        (await uow.coupon_batches.next_available()).allocate(user.id, token="1", today=TODAY)
        (await uow.coupon_batches.get(BatchReference("WELCOME"))).give_back()

    assert await world.coupons_left() == {"WELCOME": 2}


async def test_a_refresh_sees_what_its_own_unit_of_work_changes(world: World) -> None:
    """Or a handler that does both would leave the list as it was, for ever."""
    user = a_user(email="old@example.com")
    await store(world, user)

    async with a_uow(world) as uow:
        await uow.user_view.refresh(user.id)
        (await uow.users.get(user.id)).change_email(EmailAddress("new@example.com"))

    assert [row.email for row in await world.view()] == ["new@example.com"]


async def test_refreshing_a_user_that_is_not_there_changes_nothing(world: World) -> None:
    """A read model shows what is, and raises about nothing."""
    async with a_uow(world) as uow:
        await uow.user_view.refresh(a_user_id())

    assert await world.view() == []


async def test_the_read_model_follows_the_aggregates(world: World) -> None:
    """It is refreshed from what is stored, so the order of events does not matter."""
    user = a_user(name="Иван", email="ivan@example.com")
    await store(world, user)

    [row] = await refreshed(world, user)
    assert (row.name, row.email) == ("Иван", "ivan@example.com")
    async with a_uow(world) as uow:
        (await uow.users.get(user.id)).change_email(EmailAddress("new@example.com"))
    [row] = await refreshed(world, user)
    assert (row.name, row.email) == ("Иван", "new@example.com")


async def refreshed(world: World, user: User) -> list[UserRow]:
    async with a_uow(world) as uow:
        await uow.user_view.refresh(user.id)
    return await world.view()


async def test_the_read_model_shows_the_coupon_of_a_user(world: World) -> None:
    """As soon as there is one."""
    await store(world, user := a_user(), batch_of(1))

    [row] = await refreshed(world, user)
    assert (row.coupon_code, row.coupon_state) == (None, None)
    async with a_uow(world) as uow:
        (await uow.coupon_batches.next_available()).allocate(user.id, token="1", today=TODAY)
    [row] = await refreshed(world, user)
    assert (row.coupon_code, row.coupon_state) == ("WELCOME-1", "allocated")


async def test_a_received_message_is_noted_with_the_commit_of_its_command(world: World) -> None:
    """So its command takes effect once, however often it comes."""
    message = MessageOrigin(source="/shop", id="m1")
    async with a_uow(world, received=message) as uow:
        things_of(uow).add(a_thing("first"))

    with pytest.raises(MessageAlreadyHandled, match="'m1' from '/shop'"):
        async with a_uow(world, received=message):
            pytest.fail("the command would be executed again")

    for other in (MessageOrigin(source="/shop", id="m2"), MessageOrigin(source="/x", id="m1")):
        async with a_uow(world, received=other) as uow:
            things_of(uow).add(a_thing(f"{other.id}{other.source[1:]}"))
    assert len(await world.things()) == 3


async def test_a_command_that_was_accepted_leaves_a_row_and_a_refused_one_none(
    world: World,
) -> None:
    """Also one that nobody could recognize: it is a part of what happened."""
    for name in ("first", "second"):
        async with world.new_uow(accepted := a_command_envelope()) as uow:
            things_of(uow).add(a_thing(name))
        assert accepted.id in await world.commands()
    with pytest.raises(ZeroDivisionError):
        async with world.new_uow(a_command_envelope()):
            raise ZeroDivisionError

    assert len(await world.commands()) == 2


async def test_a_command_from_outside_that_changed_nothing_leaves_a_row_only_if_it_came_with_an_id(
    world: World,
) -> None:
    """A script that repeats itself every night fills no history; a message has to be recognized."""
    thing = a_thing()
    async with a_uow(world) as uow:
        things_of(uow).add(thing)
    (first,) = await world.commands()

    for received in (INTERNAL, MessageOrigin(source="/shop", id="m1")):
        async with a_uow(world, received=received) as uow:
            await things_of(uow).get(thing.id)
        assert len(await world.commands()) == 1 + (received is not INTERNAL)

    async with world.new_uow(logging := a_command_envelope()) as uow:
        write(uow, "ivan")
    assert {first, logging.id} < await world.commands()


async def test_a_message_whose_command_failed_is_not_noted(world: World) -> None:
    """It has to be tried again."""
    message = MessageOrigin(source="/shop", id="m1")
    with pytest.raises(ZeroDivisionError):
        async with a_uow(world, received=message) as uow:
            things_of(uow).add(a_thing())
            raise ZeroDivisionError

    async with a_uow(world, received=message) as uow:
        things_of(uow).add(a_thing())

    assert await world.things() == ["lamp"]


async def test_of_two_copies_at_once_one_takes_effect(world: World) -> None:
    """The second waits for the first, and is recognized before the command could be refused."""
    message = MessageOrigin(source="/shop", id="m1")
    outcomes: list[str] = []

    async def make() -> None:
        try:
            async with a_uow(world, received=message) as uow:
                things_of(uow).add(a_thing())
            outcomes.append("stored")
        except MessageAlreadyHandled:
            outcomes.append("recognized")

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(make)

    assert sorted(outcomes) == ["recognized"] * 3 + ["stored"]
    assert len(await world.things()) == 1


async def an_answer_about(world: World, thing: Thing) -> CommandWork:
    """Make a thing, and return a command that settles the delivery of its announcement."""
    async with (scope := a_uow(world)) as uow:
        things_of(uow).add(thing)
    [claim] = claims_of("announce", scope)
    return replace(a_command_envelope(), settles=claim)


async def assert_recorded(world: World, answer: CommandWork) -> None:
    assert answer.settles
    assert (answer.settles.envelope.id, answer.settles.handler) in await world.finished()
    assert answer.id in await world.commands()
    assert len(await world.commands()) == 2


async def test_an_answer_is_recorded_and_settles_its_delivery(world: World) -> None:
    """In one transaction; whoever has lost the lease stores neither."""
    answer = await an_answer_about(world, a_thing())

    async with world.new_uow(answer) as uow:
        write(uow, "answer")
    with pytest.raises(DeliverySuperseded):
        async with world.new_uow(replace(answer, id=uuid4())) as uow:
            write(uow, "again")

    assert await world.lines() == ["answer"]
    await assert_recorded(world, answer)


async def test_an_answer_that_changes_nothing_is_recorded_and_settles_its_delivery(
    world: World,
) -> None:
    """That its delivery is done is a change, and the trace shows what the outside has said."""
    thing = a_thing("new")
    answer = await an_answer_about(world, thing)

    async with (scope := world.new_uow(answer)) as uow:
        (await things_of(uow).get(thing.id)).rename("new")

    assert scope.committed == Committed()
    await assert_recorded(world, answer)


async def test_an_address_that_does_not_exist_is_known_as_long_as_somebody_has_it(
    world: World,
) -> None:
    """However it is spelled; and not that of anybody else."""
    user, address = a_user(email="Ivan@example.com"), EmailAddress("ivan@example.com")
    await store(world, user, a_user(email="maria@example.com"))
    assert not await world.is_undeliverable("ivan@example.com")

    async with a_uow(world) as uow:
        (await uow.users.get(user.id)).record_bounce(address)
    known = [await world.is_undeliverable(f"{who}@example.com") for who in ("IVAN", "maria", "eve")]
    async with a_uow(world) as uow:
        (await uow.users.get(user.id)).change_email(EmailAddress("new@example.com"))

    assert known == [True, False, False]
    assert not await world.is_undeliverable("ivan@example.com")
    assert not await world.is_undeliverable("new@example.com")
