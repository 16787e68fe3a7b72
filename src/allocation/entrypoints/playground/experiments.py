"""The guided experiments: each is what a person could do at the panel, in order, and a verdict.

Faults are made by the panel's means only. What came of it is read in the database and the inbox.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count

from allocation.adapters.playground import views
from allocation.adapters.playground.views import DeliveryRow
from allocation.entrypoints.playground.courses import LOOK_SECONDS, Course
from allocation.entrypoints.playground.playground import Playground, sends, until
from allocation.entrypoints.playground.processes import TOMORROW, Child
from allocation.entrypoints.playground.registering import Registered
from allocation.entrypoints.playground.tomorrow import SUBJECT, announce_newsletter

WELCOME = "send_welcome_email"
NEW_HANDLER = announce_newsletter.__name__
MANY = 100

logger = logging.getLogger(__name__)

_numbers = count(1)


async def killed_after_the_commit(play: Playground, course: Course) -> None:
    """The process that sends the e-mail is killed meanwhile; another one takes over."""
    await course.goes_on("hang")
    await play.line.become("hangs")
    user, before, owner = await _in_hand(play, course)
    await course.goes_on("killed")
    await owner.kill()
    await play.line.become("up")
    await course.goes_on("lease")
    await _until_all(play, [user], lambda row: row.handler != WELCOME or row.is_done)
    after = await play.delivery(user, WELCOME)
    course.found_another_owner(before, after)
    course.found_one_email(play.mailboxes.to(user.email, "Welcome"), after)


async def the_frozen_owner(play: Playground, course: Course) -> None:
    """It wakes up long after its lease is over, when another one has done its work."""
    await course.goes_on("hang")
    await play.line.become("hangs")
    user, before, owner = await _in_hand(play, course)
    await course.goes_on("stopped")
    owner.freeze()
    await play.line.become("up")
    await course.goes_on("lease")
    await _until_all(play, [user], lambda row: row.is_settled)
    after = await play.delivery(user, WELCOME)
    course.found_another_owner(before, after)
    await course.goes_on("woken")
    owner.thaw()
    play.children[str(after.owner)].freeze()  # so that the next user is left to the one that wakes
    following = await play.registering.register()
    done = await until(lambda: _done(play, following, "log_registration"))
    course.found("works_on", is_so=done.owner == owner.name, process=done.owner)
    course.found("changed_nothing", is_so=await play.delivery(user, WELCOME) == after)
    course.found_one_email(play.mailboxes.to(user.email, "Welcome"), after)


async def mail_is_down(play: Playground, course: Course) -> None:
    """E-mails are tried again, with longer and longer pauses; nothing else waits for them."""
    await course.goes_on("refuse")
    await play.line.become("refuses")
    await course.goes_on("register")
    users = await _register(play, course, 5)
    await course.goes_on("others")
    await _until_all(play, users, lambda row: sends(row.handler) or row.is_done)
    await course.goes_on("backoff")
    await _until_all(play, users, lambda row: row.handler != WELCOME or row.attempts > 3)
    rows = await play.deliveries(*users)
    others = [row.is_done for row in rows if not sends(row.handler)]
    unsent = [row for row in rows if row.handler == WELCOME and not row.is_done]
    course.found("nobody_waited", is_so=all(others), count=len(others))
    course.found("all_unsent", is_so=len(unsent) == len(users), count=len(unsent))
    await course.goes_on("up")
    await play.line.become("up")
    await _until_all(play, users, lambda row: row.is_done)
    course.found_one_each([len(play.mailboxes.to(user.email, "Welcome")) for user in users])


async def poison(play: Playground, course: Course) -> None:
    """What can never work is parked, and blocks nobody; when its cause has gone, it is retried."""
    await course.goes_on("poison")
    email = play.registering.new_email()
    play.mailboxes.unknown.add(email)
    user = await play.registering.register(email)
    course.story = str(user.story)
    await course.goes_on("others")
    others = await play.registering.register_many(3)
    await _until_all(play, [user, *others], lambda row: row.is_settled)
    parked = [row for row in await play.deliveries(user) if not row.is_done]
    flow = [row.is_done for row in await play.deliveries(*others)]
    is_so = WELCOME in [row.handler for row in parked] and all(sends(row.handler) for row in parked)
    course.found("parked", is_so=is_so, count=len(parked))
    course.found("others_flow", is_so=all(flow), count=len(flow))
    await course.goes_on("stays", seconds=LOOK_SECONDS)
    await course.goes_on("retry")
    play.mailboxes.unknown.clear()
    for row in parked:
        await play.registering.post(f"/deliveries/{row.event_id}/{row.handler}/retry")
    await _until_all(play, [user], lambda row: row.is_done)
    users = [user, *others]
    course.found_one_each([len(play.mailboxes.to(user.email, "Welcome")) for user in users])


async def never_one_coupon_too_many(play: Playground, course: Course) -> None:
    """A hundred at once want one of ten coupons."""
    await course.goes_on("coupons")
    left = await play.fill_up_coupons(f"TEN-{next(_numbers)}")
    before = await views.count_coupons(play.application.database)
    await course.goes_on("register")
    users = await play.registering.register_many(MANY)
    await course.goes_on("settle")
    await _until_all(play, users, lambda row: row.is_settled)
    after = await views.count_coupons(play.application.database)
    got = after.allocated - before.allocated
    emails = sum(len(play.mailboxes.to(user.email, "Your welcome coupon")) for user in users)
    course.found("allocated", is_so=got == min(left, MANY), count=got, left=after.remaining)
    course.found("one_each", is_so=after.users == after.allocated, count=after.users)
    course.found("coupon_emails", is_so=emails == got, count=emails)


async def a_handler_added_later(play: Playground, course: Course) -> None:
    """A new version of the program has one more handler, which is owed what happened before."""
    database = play.application.database
    await course.goes_on("register")
    users = await _register(play, course, 3)
    await _until_all(play, users, lambda row: row.is_settled)
    past = await views.count_events(database, "user_registered")
    await course.goes_on("replace")
    await play.replace(TOMORROW)
    await course.goes_on("replay")
    options = ("--outside-effects", "--yes")
    await play.run("deliveries", "replay", NEW_HANDLER, *options, version=TOMORROW)
    await course.goes_on("work")
    owed = await until(lambda: views.settled_of(database, NEW_HANDLER))
    course.found("owed_once", is_so=owed >= past, count=owed, past=past)
    got = Counter(each.recipient for each in play.mailboxes.received if each.subject == SUBJECT)
    course.found("each_once", is_so={*got.values()} == {1}, count=len(got))


async def _register(play: Playground, course: Course, number: int) -> Sequence[Registered]:
    users = await play.registering.register_many(number)
    course.story = str(users[-1].story)
    return users


async def _in_hand(play: Playground, course: Course) -> tuple[Registered, DeliveryRow, Child]:
    """Register a user; return, with its owner, the e-mail that is all that is left to do."""
    await course.goes_on("register")
    (user,) = await _register(play, course, 1)
    await course.goes_on("in_hand")

    async def waiting_for_mail() -> DeliveryRow | None:
        rest = [row for row in await play.deliveries(user) if not row.is_done]
        hangs = play.line.held and all(sends(row.handler) for row in rest)
        ours = (row for row in rest if row.handler == WELCOME and row.owner in play.children)
        return next(ours, None) if hangs else None

    delivery = await until(waiting_for_mail)
    return user, delivery, play.children[str(delivery.owner)]


async def _until_all(
    play: Playground, users: Sequence[Registered], is_so: Callable[[DeliveryRow], bool]
) -> None:
    async def all_are() -> bool:
        return all(map(is_so, await play.deliveries(*users)))

    await until(all_are)


async def _done(play: Playground, user: Registered, handler: str) -> DeliveryRow | None:
    delivery = await play.delivery(user, handler)
    return delivery if delivery.is_done else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """An experiment, the promise that it shows, and the test that proves it."""

    run: Callable[[Playground, Course], Awaitable[None]]
    steps: Sequence[str]
    promise: str  # a heading of docs/guarantees.md
    proof: str


EXPERIMENTS = {
    "killed": Experiment(
        run=killed_after_the_commit,
        steps=("hang", "register", "in_hand", "killed", "lease"),
        promise="Every handler of a committed event does its work in the end",
        proof="tests/e2e/test_crash_matrix.py::test_a_worker_survives_a_kill",
    ),
    "frozen": Experiment(
        run=the_frozen_owner,
        steps=("hang", "register", "in_hand", "stopped", "lease", "woken"),
        promise="Two owners never both settle a delivery",
        proof="tests/integration/test_outbox_contract.py::test_a_late_owner_changes_nothing",
    ),
    "mail": Experiment(
        run=mail_is_down,
        steps=("refuse", "register", "others", "backoff", "up"),
        promise="A failing handler hurts nobody else",
        proof="tests/unit/test_messagebus.py"
        "::test_a_failing_handler_leaves_the_work_of_its_siblings_done",
    ),
    "poison": Experiment(
        run=poison,
        steps=("poison", "others", "stays", "retry"),
        promise="What can never work is parked, not tried for ever",
        proof="tests/unit/test_messagebus.py::test_a_permanent_error_parks_the_delivery_at_once",
    ),
    "coupons": Experiment(
        run=never_one_coupon_too_many,
        steps=("coupons", "register", "settle"),
        promise="Never one coupon too many, never two for one user",
        proof="tests/unit/test_coupon_races.py"
        "::test_never_one_coupon_too_many_and_never_two_for_one_user",
    ),
    "later": Experiment(
        run=a_handler_added_later,
        steps=("register", "replace", "replay", "work"),
        promise="A handler added later can be owed the past",
        proof="tests/e2e/operations/test_replaying.py"
        "::test_a_handler_added_later_has_run_once_for_each_event",
    ),
}


async def carry_out(play: Playground, experiment: Experiment, course: Course) -> None:
    """Run an experiment in a playground that is whole, and leave it whole."""
    try:
        await play.restore()
        await experiment.run(play, course)
    except Exception as error:  # that is a verdict, too
        logger.exception("an experiment failed")
        course.found("failed", is_so=False, error=f"{type(error).__name__}: {error}")
    await course.goes_on("restore")
    await play.restore()
    course.end()
