"""What must not return, step by step: `python -m simulation.schedules` runs them all.

A seed does not survive a changed scenario, engine or Python. So what a seed has found is kept here,
as the few steps that it comes down to. In each, the world begins quiet, and all must be done in the
end.
"""

from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

import anyio
from aftercommit import MessageOrigin
from aftercommit_tests.inside.claims import EventId
from aftercommit_tests.inside.errors import DeliveryNotFound, OrderedHandler
from aftercommit_tests.inside.operations import (
    delivery_admin,
    handler_pauses,
    limit_admin,
    retention,
)

from simulation import driver, shop
from simulation.broker import SOURCE
from simulation.faults import Fault
from simulation.operators import DECISION, Operator, replay
from simulation.plan import Plan
from simulation.seeds import repeatable, run
from simulation.server_schedules import ON_POSTGRESQL, started
from simulation.simulation import (
    CLIENT,
    HANDLER_TIMEOUT,
    LEASE,
    ShopProcess,
    Simulation,
    message_id,
)

QUIET = Plan(seed=0)
ONE_CHANGE = Plan(seed=0, handlers=frozenset(["write_invoice"]))
ONE_REPLY = Plan(seed=0, handlers=frozenset(["ask_bank"]))
ONE_SETTLED = Plan(seed=0, handlers=frozenset(["settle"]))
ONE_EFFECT = Plan(seed=0, handlers=frozenset(["announce"]), slowness=2.0)
# its external effect takes a second
NEW_HANDLER = Plan(seed=1, versions=2, customers=1, handlers=frozenset(["thank"]), slowness=2.0)
CHARGE = frozenset(["charge"])
A_FEW_AT_ONCE = Plan(seed=0, handlers=CHARGE, slowness=1.0)
A_HUNDRED_A_MINUTE = Plan(seed=0, handlers=CHARGE, at_once=50, per_minute=100)
TWELVE_A_MINUTE = Plan(seed=0, handlers=CHARGE, at_once=50, per_minute=12)
HUNDREDS_OF_NOTES = Plan(
    seed=0, notes=310, handlers=frozenset(["jot"]), concurrency=400, max_handlers=2
)
MANY = 120  # orders
SLOW = Plan(seed=0, slowness=8.0)  # so is the external system


def the_answer_to_a_commit_is_lost(simulation: Simulation) -> None:
    """The order is stored, nobody hears of it, and the client asks again."""
    web = started(simulation, "web")
    simulation.faults.at_next(web, "COMMIT", Fault("break", "after"))
    simulation.ask(web, 1)
    simulation.world.run(1)
    assert not simulation.ledger.acknowledged

    simulation.ask(web, 1)
    started(simulation, "worker")
    simulation.drain(1)


def a_process_crashes_between_its_commit_and_its_handlers(simulation: Simulation) -> None:
    """Others do the work when its leases have ended."""
    web = started(simulation, "web")
    simulation.faults.at_next(web, "COMMIT", Fault("crash", "after"))
    simulation.ask(web, 1)
    simulation.world.run(1)
    assert simulation.ledger.outstanding

    simulation.ask(started(simulation, "web"), 1)
    started(simulation, "worker")
    simulation.drain(1)


def a_process_is_frozen_beyond_its_lease(simulation: Simulation) -> None:
    """What it does when it goes on changes nothing: another one has done the work meanwhile."""
    web = started(simulation, "web")
    simulation.faults.at_next(web, "UPDATE deliveries", Fault("freeze", "before", 2 * LEASE))
    simulation.ask(web, 1)
    simulation.world.run(1)
    started(simulation, "worker")
    simulation.world.run(3 * LEASE)
    simulation.drain(1)


def a_process_that_was_frozen_gives_back_what_others_run(simulation: Simulation) -> None:
    """It can only give back what it has still claimed."""
    web = started(simulation, "web")
    simulation.faults.at_next(web, "COMMIT", Fault("freeze", "after", LEASE + 2))
    simulation.ask(web, 1)
    simulation.world.run(1)
    started(simulation, "worker")
    simulation.world.run(3 * LEASE)
    simulation.drain(1)


def a_process_that_was_frozen_has_too_little_time(simulation: Simulation) -> None:
    """No external effect begins when its handler may not end before its lease does."""
    web = started(simulation, "web")
    simulation.faults.at_next(web, "COMMIT", Fault("freeze", "after", LEASE / 2))
    simulation.ask(web, 1)
    simulation.world.run(LEASE)
    started(simulation, "worker")
    simulation.drain(1)


def a_handler_is_refused_for_ever(simulation: Simulation) -> None:
    """It is not tried again, until an operator wants that."""
    web = started(simulation, "web")
    simulation.behaviour.planned.extend(["", "", "refused"])  # the command, then its only handler
    simulation.ask(web, 1)
    simulation.world.run(1)
    started(simulation, "worker")
    simulation.drain(1)


def an_operator_replays_what_was_given_up(simulation: Simulation) -> None:
    """A replay leaves it out: something else has happened instead."""
    operator, web = started(simulation, "operator"), started(simulation, "web")
    simulation.behaviour.planned.extend(["", "", "refused"])  # the command, then its only handler
    simulation.ask(web, 1)
    simulation.world.run(LEASE)
    started(simulation, "worker")
    simulation.world.run(LEASE)
    operator.start(replay(operator.application, simulation.ledger, "settle", again=True))
    simulation.world.run(LEASE)
    simulation.drain(1)


def a_handler_waits_for_another_one_that_hangs(simulation: Simulation) -> None:
    """When it is its turn, it has less than its time: its lease ends before."""
    web = started(simulation, "web")
    simulation.behaviour.planned.extend(["", "", "hang", "hang"])
    simulation.ask(web, 1)
    simulation.world.run(2 * LEASE)
    started(simulation, "worker")
    simulation.drain(1)


def an_operator_retries_what_runs(simulation: Simulation) -> None:
    """Its process has lost it, and the history says to whom."""
    operator, web = started(simulation, "operator"), started(simulation, "web")
    simulation.ask(web, 1)
    simulation.world.run(5, lambda: "announce" in simulation.ledger.running)
    database = operator.application.database
    [row] = simulation.ledger.outstanding
    operator.start(delivery_admin.retry(database, EventId(row.event_id), row.handler, DECISION))
    simulation.world.run(LEASE)
    started(simulation, "worker")
    simulation.drain(1)


def the_database_is_away_when_an_effect_is_out(simulation: Simulation) -> None:
    """The worker makes up for what it could not store in the lease, before it claims again."""
    web = started(simulation, "web")
    simulation.faults.at_next(web, "COMMIT", Fault("crash", "after"))
    simulation.ask(web, 1)
    simulation.world.run(1)
    started(simulation, "worker")
    simulation.world.run(2 * LEASE, lambda: bool(simulation.ledger.external))
    simulation.faults.begin("is down", LEASE + 5)
    simulation.world.run(2 * LEASE)
    simulation.ask(started(simulation, "web"), 1)
    simulation.drain(1)


def a_completion_is_answered_by_an_error(simulation: Simulation) -> None:
    """It is made again, and the external effect is not."""
    _loses_a_connection(simulation, while_runs="announce", before="COMMIT")


def a_reply_is_answered_by_an_error(simulation: Simulation) -> None:
    """It is stored again, and the external effect is not repeated."""
    _loses_a_connection(simulation, while_runs="ask_bank", before="INSERT effects")


def others_change_what_a_reply_changes(simulation: Simulation) -> None:
    """It is tried again until its lease ends, and each try has the time of a handler."""
    web = started(simulation, "web")
    simulation.behaviour.contentions.append(HANDLER_TIMEOUT - 0.5)
    simulation.behaviour.slow_replies.append(2.0)
    simulation.ask(web, 1)
    simulation.world.run(LEASE)
    started(simulation, "worker")
    simulation.drain(1)


def a_handler_leaves_a_task_behind(simulation: Simulation) -> None:
    """What the task writes after the ROLLBACK is refused."""
    _misbehaves(simulation, "fails, and leaves a stray")


def a_handler_fails_beside_a_statement(simulation: Simulation) -> None:
    """What a task of it writes in that moment is rolled back."""
    _misbehaves(simulation, "fails beside a stray that is under way")


def a_handler_returns_beside_a_statement(simulation: Simulation) -> None:
    """It has not done its work: what a task of it writes in that moment is rolled back, too."""
    _misbehaves(simulation, "", "returns beside a stray that is under way")


def a_handler_commits(simulation: Simulation) -> None:
    """It may not, and goes on in the same transaction."""
    simulation.behaviour.ends.extend(["", "COMMIT"])  # when it has written
    _misbehaves(simulation)


def a_handler_rolls_back_by_an_error(simulation: Simulation) -> None:
    """What it does then would be in no transaction, and is refused."""
    simulation.behaviour.ends.append(driver.BY_AN_ERROR)
    _misbehaves(simulation)


def a_handler_meets_a_conflict(simulation: Simulation) -> None:
    """It runs again, and has not failed."""
    _misbehaves(simulation, "conflict")


def an_operator_discards_what_others_wait_for(simulation: Simulation) -> None:
    """The lane goes on; so it does when an order is erased."""
    operator, web = started(simulation, "operator"), started(simulation, "web")
    for number in 1, 2, 3:
        simulation.ask(web, number)
        simulation.world.run(0.2)
    database, [first, second, _] = operator.application.database, simulation.ledger.outstanding
    operator.start(
        delivery_admin.discard(database, EventId(first.event_id), first.handler, DECISION)
    )
    simulation.world.run(0.2)
    eraser = Operator(simulation.world, simulation.ledger, "erase", [first.handler])
    operator.start(eraser.erase(operator, operator.application, second.event_id))
    simulation.world.run(LEASE)
    started(simulation, "worker")
    simulation.drain(3)


def an_operator_erases_what_is_claimed(simulation: Simulation) -> None:
    """Its process has lost it; what is done then knows no more what is erased."""
    operator, web = started(simulation, "operator"), started(simulation, "web")
    simulation.ask(web, 1)
    simulation.world.run(5, lambda: "announce" in simulation.ledger.running)
    [event_id] = simulation.ledger.events
    assert [row for row in simulation.ledger.outstanding if simulation.ledger.waits(row)]
    eraser = Operator(simulation.world, simulation.ledger, "erase", ["announce"])
    operator.start(eraser.erase(operator, operator.application, event_id))
    simulation.world.run(LEASE)
    started(simulation, "worker")
    simulation.drain(1)


def an_operator_erases_what_has_failed(simulation: Simulation) -> None:
    """Its error quotes the customer, in the delivery and in its history; it is not discarded."""
    operator, web = started(simulation, "operator"), started(simulation, "web")
    simulation.behaviour.planned.extend(["", "", "bug"])  # the command, then its only handler
    simulation.ask(web, 1)
    simulation.world.run(5, lambda: any(row.last_error for row in simulation.ledger.outstanding))
    [event_id] = simulation.ledger.events
    assert "customer" in str(simulation.ledger.outstanding[0].last_error)
    eraser = Operator(simulation.world, simulation.ledger, "erase", ["write_invoice"])
    operator.start(eraser.erase(operator, operator.application, event_id))
    simulation.world.run(LEASE)
    started(simulation, "worker")
    simulation.drain(1)


def an_operator_comes_too_late(simulation: Simulation) -> None:
    """What is done stays so, what is discarded, too; what is young, or not done, is not pruned."""
    operator, web = started(simulation, "operator"), started(simulation, "web", version=1)
    simulation.ask(web, 1)
    simulation.world.run(5, lambda: bool(simulation.ledger.acknowledged))
    [row] = simulation.ledger.outstanding
    simulation.world.run(5, lambda: not simulation.ledger.outstanding)
    simulation.faults.at_next(web, "COMMIT", Fault("crash", "after"))
    simulation.ask(web, 2)
    simulation.world.run(1)
    simulation.ledger.prunes(older_than=3600.0)

    async def decide() -> None:
        database = operator.application.database
        await retention.prune(database, older_than=3600.0, pause=0.0)
        with suppress(DeliveryNotFound):
            await delivery_admin.retry(database, EventId(row.event_id), row.handler, DECISION)
        await replay(operator.application, simulation.ledger, "welcome")
        simulation.ledger.prunes(older_than=0.1)
        await retention.prune(database, older_than=0.1, pause=0.0)
        [left] = simulation.ledger.outstanding
        await delivery_admin.discard(database, EventId(left.event_id), left.handler, DECISION)
        await replay(operator.application, simulation.ledger, "welcome", again=True)

    operator.start(decide())
    simulation.world.run(LEASE)
    simulation.ask(started(simulation, "web"), 2)
    started(simulation, "worker")
    simulation.drain(2)


def a_handler_is_paused_whose_process_has_crashed(simulation: Simulation) -> None:
    """Nobody claims what it has had, nor what is placed then."""
    operator, web = started(simulation, "operator"), started(simulation, "web")
    simulation.faults.at_next(web, "COMMIT", Fault("crash", "after"))
    simulation.ask(web, 1)
    simulation.world.run(1)
    operator.start(handler_pauses.pause(operator.application.database, ["announce"], DECISION))
    simulation.world.run(5)
    simulation.ask(started(simulation, "web"), 2)
    started(simulation, "worker")
    simulation.world.run(2 * LEASE)
    simulation.drain(2)


def a_replay_forgets_the_pause(simulation: Simulation) -> None:
    """One to an ordered handler is refused then."""
    operator = _orders_before_and_after_a_handler_is_new(simulation)

    async def forget() -> None:
        with suppress(OrderedHandler):
            await replay(operator.application, simulation.ledger, "thank")

    operator.start(forget())
    simulation.world.run(LEASE)
    started(simulation, "worker")
    simulation.drain(3)


def a_handler_swallows_an_error(simulation: Simulation) -> None:
    """It has not done its work."""
    simulation.behaviour.mistakes = 1
    _misbehaves(simulation)


def a_commit_of_a_handler_is_refused(simulation: Simulation) -> None:
    """Its connection does not go on in that transaction."""
    web = started(simulation, "web")
    simulation.ask(web, 1)
    simulation.faults.at_next(web, "INSERT effects", Fault("freeze", "after", 1.0))
    simulation.world.run(0.5)
    simulation.faults.at_next(web, "UPDATE deliveries", Fault("freeze", "after", 1.0))
    simulation.world.run(1)
    simulation.faults.begin("is full", 1.0)
    simulation.world.run(LEASE)
    simulation.ask(web, 2)
    simulation.world.run(LEASE)
    started(simulation, "worker")
    simulation.drain(2)


def _loses_a_connection(simulation: Simulation, *, while_runs: str, before: str) -> None:
    """Let a connection break before a call that follows on a handler."""
    web = started(simulation, "web")
    simulation.ask(web, 1)
    simulation.world.run(5, lambda: while_runs in simulation.ledger.running)
    simulation.faults.at_next(web, before, Fault("break", "before"))
    simulation.world.run(LEASE)
    started(simulation, "worker")
    simulation.drain(1)


def _misbehaves(simulation: Simulation, *how: str) -> None:
    """Place an order; its first handler misbehaves."""
    web = started(simulation, "web")
    simulation.behaviour.planned.extend(["", "", *how])
    simulation.ask(web, 1)
    simulation.world.run(LEASE)
    started(simulation, "worker")
    simulation.drain(1)


def a_client_goes_while_a_handler_runs(simulation: Simulation) -> None:
    """Its claim is given back, and the history says that its effect may have happened."""
    _goes_when(simulation, lambda: bool(simulation.ledger.external))


def a_client_goes_before_its_handler_has_begun(simulation: Simulation) -> None:
    """All that waits for a slot is given back."""
    _goes_when(simulation, lambda: bool(simulation.ledger.running))


def a_client_goes_while_a_completion_is_made(simulation: Simulation) -> None:
    """It is made all the same, and what follows in the lane is left to workers."""
    _goes_when(simulation, lambda: _has_returned(simulation))


def a_client_goes_while_the_database_is_locked(simulation: Simulation) -> None:
    """What has had its effect is not given back as if it had not."""
    _goes_when(simulation, lambda: _has_returned(simulation), seconds_locked=2.5)


def a_client_goes_while_another_one_has_the_write_lock(simulation: Simulation) -> None:
    """What has had its effect, and cannot be completed in time, is not given back."""

    def another_asks() -> None:
        [web] = simulation.up("web")
        simulation.behaviour.planned.extend(["", "", "", "hang"])  # in the transaction
        simulation.ask(web, 2)

    begun, goes_at = simulation.world.now, HANDLER_TIMEOUT - 2.5
    simulation.world.after(0.5, another_asks)
    simulation.world.after(goes_at, lambda: None)  # something happens then
    _goes_when(simulation, lambda: simulation.world.now >= begun + goes_at, orders=2)


def a_handler_is_paused_while_it_waits_for_a_slot(simulation: Simulation) -> None:
    """It does not begin, and its claim is given back."""
    operator, web = started(simulation, "operator"), started(simulation, "web")
    simulation.ask(web, 1)
    simulation.world.run(5, lambda: bool(simulation.ledger.running))
    names = ["announce", "greet"]
    operator.start(handler_pauses.pause(operator.application.database, names, DECISION))
    simulation.world.run(2 * LEASE)
    started(simulation, "worker")
    simulation.drain(1)


def a_handler_is_paused_while_the_next_one_of_its_lane_waits(simulation: Simulation) -> None:
    """Anyone who is done with the first one does not go on with what is held."""
    operator, web = started(simulation, "operator"), started(simulation, "web")
    simulation.ask(web, 1)
    simulation.world.run(5, lambda: "praise" in simulation.ledger.running)
    operator.start(handler_pauses.pause(operator.application.database, ["praise"], DECISION))
    simulation.world.run(2 * LEASE)
    started(simulation, "worker")
    simulation.drain(1)


def a_process_cannot_run_what_it_has_stored(simulation: Simulation) -> None:
    """It has claimed that with its commit, and gives it back."""
    web = started(simulation, "web")
    simulation.ask(web, 1)
    simulation.world.run(2 * LEASE)
    started(simulation, "worker")
    simulation.drain(1)


def _has_returned(simulation: Simulation) -> bool:
    return bool(simulation.ledger.external) and not simulation.ledger.running


def _goes_when(
    simulation: Simulation,
    comes: Callable[[], bool],
    *,
    seconds_locked: float = 0.0,
    orders: int = 1,
) -> None:
    web, clients = started(simulation, "web"), list[anyio.CancelScope]()

    async def ask() -> None:
        with anyio.CancelScope() as client:
            clients.append(client)
            order = shop.PlaceOrder(UUID(int=1), "customer 1")
            await web.application.bus.handle(order, MessageOrigin(source=CLIENT, id=message_id(1)))

    async def go() -> None:
        clients[0].cancel()

    web.start(ask())
    simulation.world.run(2 * LEASE, comes)
    if seconds_locked:
        simulation.faults.begin("is locked", seconds_locked)
    web.start(go())
    simulation.world.run(2 * LEASE)
    started(simulation, "worker")
    simulation.drain(orders)


def the_answer_to_a_commit_of_a_handler_is_lost(simulation: Simulation) -> None:
    """Its delivery is done; the process does not know, and does not call that a failure."""
    web = started(simulation, "web")
    simulation.faults.at_next(web, "COMMIT", Fault("freeze", "after", 0.1))  # of the order
    simulation.faults.at_next(web, "COMMIT", Fault("break", "after"))
    simulation.ask(web, 1)
    simulation.world.run(1)
    started(simulation, "worker")
    simulation.drain(1)


def a_replay_comes_while_a_delivery_runs(simulation: Simulation) -> None:
    """What it puts before that is the first of the lane, and stays it when the delivery is done."""
    operator = _orders_before_and_after_a_handler_is_new(simulation)
    operator.start(_replay(operator))
    started(simulation, "worker")
    simulation.drain(3)


def two_of_a_lane_are_done_at_the_same_time(simulation: Simulation) -> None:
    """One ran when a replay put the other before it; anyone who is last lets the lane go on."""
    operator = _orders_before_and_after_a_handler_is_new(simulation)
    [web] = simulation.up("web")
    simulation.faults.at_next(web, "COMMIT", Fault("freeze", "before", 8.0))

    async def replay_and_resume() -> None:
        await _replay(operator)
        await handler_pauses.resume(operator.application.database, ["thank"], DECISION)

    operator.start(replay_and_resume())
    started(simulation, "worker")
    simulation.world.run(2 * LEASE)
    if any(row.blocked for row in simulation.ledger.outstanding):
        simulation.world.fail("a lane stands still")
    simulation.drain(3)


def a_replay_comes_before_a_delivery_is_completed_again(simulation: Simulation) -> None:
    """The lane has gone on when its COMMIT was made, and does not go on once more."""
    operator = _orders_before_and_after_a_handler_is_new(simulation)
    [web] = simulation.up("web")
    simulation.faults.at_next(web, "COMMIT", Fault("break", "after"))
    simulation.world.run(5, lambda: len(simulation.ledger.outstanding) == 1)
    operator.start(_replay(operator))
    started(simulation, "worker")
    simulation.drain(3)


def a_replay_is_for_a_handler_that_is_new(simulation: Simulation) -> None:
    """It has a delivery of each past event then."""
    operator, old = started(simulation, "operator"), started(simulation, "web", version=1)
    simulation.ask(old, 1)
    simulation.world.run(1)
    operator.start(replay(operator.application, simulation.ledger, "proclaim"))
    simulation.world.run(1)
    started(simulation, "worker")
    simulation.drain(1)


def a_replay_does_again_what_is_completed_again(simulation: Simulation) -> None:
    """What the process completes is what it has done, and not what is to be done once more."""
    operator, web = started(simulation, "operator"), started(simulation, "web")
    simulation.ask(web, 1)
    simulation.world.run(5, lambda: bool(simulation.ledger.external))
    simulation.faults.at_next(web, "COMMIT", Fault("break", "after"))
    simulation.world.run(5, lambda: not simulation.ledger.outstanding)
    operator.start(replay(operator.application, simulation.ledger, "announce", again=True))
    simulation.world.run(LEASE)
    started(simulation, "worker")
    simulation.drain(1)


def _orders_before_and_after_a_handler_is_new(simulation: Simulation) -> ShopProcess:
    """Place three orders of a customer, the first before there is a handler that runs then."""
    operator, old = started(simulation, "operator"), started(simulation, "web", version=1)
    simulation.ask(old, 1)
    simulation.world.run(1)
    simulation.stop(old)
    simulation.world.run(1)
    new = started(simulation, "web")
    simulation.ask(new, 2)
    simulation.world.run(0.2)
    simulation.ask(new, 3)
    simulation.world.run(0.2)
    assert len(simulation.ledger.acknowledged) == 3
    assert "thank" in simulation.ledger.running
    return operator


async def _replay(process: ShopProcess) -> None:
    await handler_pauses.pause(process.application.database, ["thank"], DECISION)
    await replay(process.application, process.behaviour.ledger, "thank")


def an_order_comes_while_a_handler_is_resumed(simulation: Simulation) -> None:
    """What is stored as paused in that moment is due then, too."""
    web = started(simulation, "web")

    async def pause_and_resume(process: ShopProcess) -> None:
        database = process.application.database
        await handler_pauses.pause(database, ["announce"], DECISION)
        fault = Fault("freeze", "after", 5.0)
        simulation.faults.at_next(process, "COMMIT", fault)  # of the first part
        await handler_pauses.resume(database, ["announce"], DECISION)

    simulation.begin("operator", pause_and_resume)
    simulation.world.run(1)
    simulation.ask(web, 1)
    started(simulation, "worker")
    simulation.drain(1)


def many_wait_for_their_turn(simulation: Simulation) -> None:
    """No more than a hundred begin in a minute; and who commits begins with none of them."""
    web = started(simulation, "web")
    for _ in range(3):
        started(simulation, "worker")
    for number in range(1, MANY + 1):
        simulation.ask(web, number)
    simulation.world.run(30)
    simulation.drain(MANY)


def an_operator_lowers_a_limit(simulation: Simulation) -> None:
    """What is claimed from then on is counted by the operator's number, not the program's."""
    operator, web = started(simulation, "operator"), started(simulation, "web")
    database, limits = operator.application.database, operator.application.bus.delivery_store.limits
    lower = {"at_once": 1, "per_minute": None}
    operator.start(limit_admin.set_limit(database, limits, "cards", DECISION, lower))
    simulation.world.run(1)
    for number in range(1, 9):
        simulation.ask(web, number)
    started(simulation, "worker")
    simulation.world.run(30)
    simulation.drain(8)


def a_subscription_is_paused(simulation: Simulation) -> None:
    """Its messages wait until it is resumed, and those of others do not."""
    operator, _ = started(simulation, "operator"), started(simulation, "consumer")
    operator.start(handler_pauses.pause(operator.application.database, [SOURCE], DECISION))
    simulation.world.run(5)
    for payment in range(1, 9):
        simulation.messages.publish(payment)
    simulation.world.run(10)
    assert not simulation.messages.are_done
    started(simulation, "worker")
    simulation.drain(0)


def orders_have_hundreds_of_lanes(simulation: Simulation) -> None:
    """All are locked, though not one by one; and what cannot begin in time is given back."""
    web, other = started(simulation, "web"), started(simulation, "web")
    simulation.faults.at_next(web, "COMMIT", Fault("freeze", "before", 2.0))
    simulation.ask(web, 1)
    simulation.world.run(1)
    simulation.ask(other, 2)
    simulation.world.run(LEASE)
    started(simulation, "worker")
    simulation.drain(2)


SCHEDULES: Sequence[tuple[Plan, Callable[[Simulation], None]]] = [
    (QUIET, the_answer_to_a_commit_is_lost),
    (QUIET, a_process_crashes_between_its_commit_and_its_handlers),
    (Plan(seed=0, max_attempts=1), a_process_crashes_between_its_commit_and_its_handlers),
    (QUIET, a_process_is_frozen_beyond_its_lease),
    (SLOW, a_process_that_was_frozen_gives_back_what_others_run),
    (
        Plan(seed=0, handlers=frozenset(["write_invoice"])),
        the_answer_to_a_commit_of_a_handler_is_lost,
    ),
    (Plan(seed=0, handlers=frozenset(["announce"])), a_handler_is_refused_for_ever),
    (ONE_SETTLED, an_operator_replays_what_was_given_up),
    (ONE_SETTLED, a_process_crashes_between_its_commit_and_its_handlers),
    (replace(ONE_SETTLED, max_attempts=1), a_process_crashes_between_its_commit_and_its_handlers),
    (
        Plan(seed=0, handlers=frozenset(["write_invoice", "reserve"])),
        a_handler_waits_for_another_one_that_hangs,
    ),
    (ONE_EFFECT, an_operator_retries_what_runs),
    (ONE_EFFECT, the_database_is_away_when_an_effect_is_out),
    (ONE_REPLY, a_reply_is_answered_by_an_error),
    (ONE_REPLY, others_change_what_a_reply_changes),
    (ONE_CHANGE, a_handler_meets_a_conflict),
    (
        Plan(seed=0, handlers=frozenset(["tell_customer"]), customers=1, slowness=5.0),
        an_operator_discards_what_others_wait_for,
    ),
    (Plan(seed=0, handlers=frozenset(["greet"]), versions=2), an_operator_comes_too_late),
    (ONE_EFFECT, a_handler_is_paused_whose_process_has_crashed),
    (NEW_HANDLER, a_replay_forgets_the_pause),
    (ONE_CHANGE, an_operator_erases_what_has_failed),
    (ONE_CHANGE, a_handler_leaves_a_task_behind),
    (ONE_CHANGE, a_handler_fails_beside_a_statement),
    (ONE_CHANGE, a_handler_returns_beside_a_statement),
    (ONE_CHANGE, a_handler_commits),
    (ONE_CHANGE, a_handler_rolls_back_by_an_error),
    (Plan(seed=0, handlers=frozenset(["pack", "count_up"])), a_handler_swallows_an_error),
    (ONE_CHANGE, a_commit_of_a_handler_is_refused),
    (ONE_EFFECT, a_client_goes_while_a_handler_runs),
    (
        Plan(seed=0, handlers=frozenset(["announce", "greet"]), max_handlers=1, concurrency=1),
        a_client_goes_before_its_handler_has_begun,
    ),
    (
        Plan(seed=0, handlers=frozenset(["pack", "praise"]), slowness=1.0),
        a_client_goes_while_a_completion_is_made,
    ),
    (
        Plan(seed=0, handlers=frozenset(["announce", "write_invoice"]), slowness=2.0),
        a_client_goes_while_another_one_has_the_write_lock,
    ),
    (
        Plan(
            seed=2,
            handlers=frozenset(["announce", "greet"]),
            max_handlers=1,
            concurrency=1,
            slowness=3.0,
        ),
        a_handler_is_paused_while_it_waits_for_a_slot,
    ),
    (
        Plan(seed=0, handlers=frozenset(["announce", "write_invoice"]), max_handlers=1),
        an_operator_erases_what_is_claimed,
    ),
    (
        Plan(seed=0, handlers=frozenset(["pack", "praise"]), slowness=8.0),
        a_handler_is_paused_while_the_next_one_of_its_lane_waits,
    ),
    (
        Plan(seed=0, handlers=frozenset(["announce"]), portless=1.0),
        a_process_cannot_run_what_it_has_stored,
    ),
    (QUIET, a_process_that_was_frozen_has_too_little_time),
    (
        Plan(seed=0, versions=2, handlers=frozenset(["proclaim"])),
        a_replay_is_for_a_handler_that_is_new,
    ),
    (NEW_HANDLER, a_replay_comes_while_a_delivery_runs),
    (NEW_HANDLER, a_replay_comes_before_a_delivery_is_completed_again),
    (NEW_HANDLER, two_of_a_lane_are_done_at_the_same_time),
    (QUIET, an_order_comes_while_a_handler_is_resumed),
    (A_FEW_AT_ONCE, many_wait_for_their_turn),
    (A_HUNDRED_A_MINUTE, many_wait_for_their_turn),
    (TWELVE_A_MINUTE, many_wait_for_their_turn),
    (A_FEW_AT_ONCE, an_operator_lowers_a_limit),
    (HUNDREDS_OF_NOTES, orders_have_hundreds_of_lanes),
    (QUIET, a_subscription_is_paused),
]


# on PostgreSQL a completion has no COMMIT of its own, and nobody has the only write lock
ON_SQLITE: Sequence[tuple[Plan, Callable[[Simulation], None]]] = [
    (ONE_EFFECT, a_completion_is_answered_by_an_error),
    (ONE_EFFECT, a_client_goes_while_the_database_is_locked),
    (ONE_EFFECT, a_replay_does_again_what_is_completed_again),
]


def schedules_on(server: str) -> Sequence[tuple[Plan, Callable[[Simulation], None]]]:
    """Return all schedules for a server of PostgreSQL, or for SQLite, where there is none."""
    return [*SCHEDULES, *(ON_POSTGRESQL if server else ON_SQLITE)]


PARTS = range(3)
"""What a test run divides the schedules into, since it runs several processes."""


def main() -> int:
    """Run all schedules, perhaps on a server; show the stories of those that fail."""
    parser = ArgumentParser(prog="python -m simulation.schedules", description=__doc__)
    parser.add_argument("--server", metavar="URL", default="", help="one of PostgreSQL that runs")
    parser.add_argument("--part", metavar="N", type=int, choices=PARTS, help="one of three parts")
    asked = parser.parse_args()
    server = asked.server
    failed = 0
    scripts = schedules_on(server)
    for plan, script in scripts if asked.part is None else scripts[asked.part :: len(PARTS)]:
        verdict = run(plan, script, postgresql=server)
        failed += bool(verdict.problem)
        print(f"{script.__name__}: {verdict.problem or 'holds'}")
        if verdict.problem:
            print(verdict.story)
    return failed


if __name__ == "__main__":
    repeatable("simulation.schedules", main)
