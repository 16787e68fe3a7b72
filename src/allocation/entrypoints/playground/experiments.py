"""The guided experiments: each is what a person could do at the panel, in order, and a verdict.

Faults are made by the panel's means only. What came of it is read in the database and the inbox.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

from allocation.adapters.playground import views
from allocation.adapters.playground.views import DeliveryRow
from allocation.entrypoints.playground.playground import Playground, sends, until
from allocation.entrypoints.playground.processes import TOMORROW, Child
from allocation.entrypoints.playground.registering import Registered
from allocation.entrypoints.playground.tomorrow import SUBJECT, announce_newsletter

WELCOME = "send_welcome_email"
NEW_HANDLER = announce_newsletter.__name__
MANY = 100

logger = logging.getLogger(__name__)

_numbers = count(1)


@dataclass(slots=True)
class Course:
    """How far an experiment is, and what was found: each fact is as promised, or not."""

    state: str = "idle"  # running, kept, broken
    step: str | None = None
    story: str | None = None  # what to look at
    facts: list[dict[str, object]] = field(default_factory=list)

    def goes_on(self, step: str) -> None:
        """Begin a step."""
        self.step = step

    def found(self, fact: str, *, is_so: bool, **values: object) -> None:
        """Note a fact, with the values that were read."""
        self.facts.append({"name": fact, "is_so": is_so, "values": values})


Script = Callable[[Playground, Course], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """An experiment, the promise that it shows, and the test that proves it."""

    run: Script
    steps: Sequence[str]
    promise: str  # a heading of docs/guarantees.md
    proof: str


async def killed_after_the_commit(play: Playground, course: Course) -> None:
    """The process that sends the e-mail is killed meanwhile; another one takes over."""
    course.goes_on("hang")
    await play.line.become("hangs")
    user, before, owner = await _in_hand(play, course)
    course.goes_on("kill")
    await owner.kill()
    await play.line.become("up")
    course.goes_on("lease")
    after = await _done(play, user)
    _found_other_owner(course, before, after)
    _found_one_email(play, course, user, after)


async def the_frozen_owner(play: Playground, course: Course) -> None:
    """It wakes up long after its lease is over, when another one has done its work."""
    course.goes_on("hang")
    await play.line.become("hangs")
    user, before, owner = await _in_hand(play, course)
    course.goes_on("freeze")
    owner.freeze()
    await play.line.become("up")
    course.goes_on("lease")
    after = await _done(play, user)
    _found_other_owner(course, before, after)
    course.goes_on("thaw")
    await until(lambda: _all(play, [user], _is_settled))
    owner.thaw()
    for other in play.children.values():  # so that it has to be the one that was frozen
        if other.name.startswith("worker") and other is not owner:
            other.freeze()
    following = await play.registering.register()
    await until(lambda: _is_done_by(play, following, "log_registration", owner))
    course.found("works_on", is_so=True, process=owner.name)
    course.found("changed_nothing", is_so=await play.delivery(user, WELCOME) == after)
    _found_one_email(play, course, user, after)


async def mail_is_down(play: Playground, course: Course) -> None:
    """E-mails are tried again, with longer and longer pauses; nothing else waits for them."""
    course.goes_on("refuse")
    await play.line.become("refuses")
    course.goes_on("register")
    users = await _register(play, course, 5)
    course.goes_on("others")
    await until(lambda: _all(play, users, lambda row: sends(row.handler) or _is_done(row)))
    course.goes_on("backoff")
    await until(lambda: _all(play, users, lambda row: row.handler != WELCOME or row.attempts > 3))
    rows = await play.deliveries(*users)
    others = [row for row in rows if not sends(row.handler)]
    unsent = [row for row in rows if row.handler == WELCOME and not _is_done(row)]
    course.found("nobody_waited", is_so=all(map(_is_done, others)), count=len(others))
    course.found("all_unsent", is_so=len(unsent) == len(users), count=len(unsent))
    course.goes_on("up")
    await play.line.become("up")
    await until(lambda: _all(play, users, _is_done))
    _found_emails_once(play, course, users, "Welcome")


async def poison(play: Playground, course: Course) -> None:
    """What can never work is parked, and blocks nobody; when its cause has gone, it is retried."""
    course.goes_on("poison")
    email = play.registering.new_email()
    play.mailboxes.unknown.add(email)
    user = await play.registering.register(email)
    course.story = str(user.story)
    course.goes_on("others")
    others = await play.registering.register_many(3)
    await until(lambda: _all(play, [user, *others], _is_settled))
    rows = await play.deliveries(user)
    parked = [row for row in rows if row.parked_at is not None]
    is_so = WELCOME in [row.handler for row in parked] and all(sends(row.handler) for row in parked)
    course.found("parked", is_so=is_so, count=len(parked))
    course.found("others_flow", is_so=await _all(play, others, _is_done), count=len(others))
    course.goes_on("retry")
    play.mailboxes.unknown.clear()
    for row in parked:
        await play.registering.post(f"/deliveries/{row.event_id}/{row.handler}/retry")
    await until(lambda: _all(play, [user], _is_done))
    _found_emails_once(play, course, [user, *others], "Welcome")


async def never_one_coupon_too_many(play: Playground, course: Course) -> None:
    """A hundred at once want one of ten coupons."""
    course.goes_on("coupons")
    left = await play.fill_up_coupons(f"TEN-{next(_numbers)}")
    before = await views.count_coupons(play.application.database)
    course.goes_on("register")
    users = await play.registering.register_many(MANY)
    course.goes_on("settle")
    await until(lambda: _all(play, users, _is_settled))
    after = await views.count_coupons(play.application.database)
    got = after.allocated - before.allocated
    emails = sum(len(play.mailboxes.to(user.email, "Your welcome coupon")) for user in users)
    course.found("coupons", is_so=got == min(left, MANY), count=got, left=after.remaining)
    course.found("one_each", is_so=after.users == after.allocated, count=after.users)
    course.found("coupon_emails", is_so=emails == got, count=emails)


async def a_handler_added_later(play: Playground, course: Course) -> None:
    """A new version of the program has one more handler, which is owed what happened before."""
    course.goes_on("register")
    users = await _register(play, course, 3)
    await until(lambda: _all(play, users, _is_settled))
    past = await views.count_events(play.application.database, "user_registered")
    course.goes_on("replace")
    await play.replace(TOMORROW)
    course.goes_on("replay")
    options = ("--outside-effects", "--yes")
    await play.run("deliveries", "replay", NEW_HANDLER, *options, version=TOMORROW)
    course.goes_on("work")
    await until(lambda: _is_settled_everywhere(play, NEW_HANDLER))
    owed, _ = await views.settled_of(play.application.database, NEW_HANDLER)
    course.found("owed_once", is_so=owed >= past, count=owed, past=past)
    got = Counter(each.recipient for each in play.mailboxes.received if each.subject == SUBJECT)
    course.found("each_once", is_so={*got.values()} == {1}, count=len(got))


async def _register(play: Playground, course: Course, number: int) -> Sequence[Registered]:
    users = await play.registering.register_many(number)
    course.story = str(users[-1].story)
    return users


async def _in_hand(play: Playground, course: Course) -> tuple[Registered, DeliveryRow, Child]:
    """Register a user, and wait until the e-mail is all that is left; return who has it in hand."""
    course.goes_on("register")
    (user,) = await _register(play, course, 1)
    course.goes_on("in_hand")

    async def waits_for_mail() -> bool:
        rows = await play.deliveries(user)
        rest = [row for row in rows if not _is_done(row)]
        return bool(play.line.held and rest) and all(sends(row.handler) for row in rest)

    await until(waits_for_mail)
    await until(lambda: _has_owner(play, user))
    delivery = await play.delivery(user, WELCOME)
    return user, delivery, play.children[str(delivery.owner)]


async def _has_owner(play: Playground, user: Registered) -> bool:
    return (await play.delivery(user, WELCOME)).owner in play.children


async def _done(play: Playground, user: Registered) -> DeliveryRow:
    """Wait until the welcome e-mail is sent, and return its delivery."""
    await until(lambda: _all(play, [user], lambda row: row.handler != WELCOME or _is_done(row)))
    return await play.delivery(user, WELCOME)


async def _all(
    play: Playground, users: Sequence[Registered], is_so: Callable[[DeliveryRow], bool]
) -> bool:
    return all(map(is_so, await play.deliveries(*users)))


async def _is_done_by(play: Playground, user: Registered, handler: str, child: Child) -> bool:
    delivery = await play.delivery(user, handler)
    return _is_done(delivery) and delivery.owner == child.name


async def _is_settled_everywhere(play: Playground, handler: str) -> bool:
    owed, settled = await views.settled_of(play.application.database, handler)
    return owed == settled


def _is_done(row: DeliveryRow) -> bool:
    return row.finished_at is not None


def _is_settled(row: DeliveryRow) -> bool:
    return _is_done(row) or row.parked_at is not None


def _found_other_owner(course: Course, before: DeliveryRow, after: DeliveryRow) -> None:
    is_so = after.owner != before.owner and after.token > before.token
    values = {"first": before.owner, "token": before.token}
    course.found("owner", is_so=is_so, **values, second=after.owner, next_token=after.token)


def _found_one_email(
    play: Playground, course: Course, user: Registered, delivery: DeliveryRow
) -> None:
    expected = f"<{delivery.event_id}.{delivery.handler}@allocation>"
    ids = [email.message_id for email in play.mailboxes.to(user.email, "Welcome")]
    course.found("one_email", is_so=ids == [expected], count=len(ids), id=expected)


def _found_emails_once(
    play: Playground, course: Course, users: Sequence[Registered], subject: str
) -> None:
    counts = [len(play.mailboxes.to(user.email, subject)) for user in users]
    course.found("emails_once", is_so={*counts} == {1}, count=sum(counts))


EXPERIMENTS = {
    "killed": Experiment(
        run=killed_after_the_commit,
        steps=("hang", "register", "in_hand", "kill", "lease"),
        promise="Every handler of a committed event does its work in the end",
        proof="tests/e2e/test_crash_matrix.py::test_a_worker_survives_a_kill",
    ),
    "frozen": Experiment(
        run=the_frozen_owner,
        steps=("hang", "register", "in_hand", "freeze", "lease", "thaw"),
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
        steps=("poison", "others", "retry"),
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
    course.goes_on("restore")
    await play.restore()
    course.state = "kept" if all(fact["is_so"] for fact in course.facts) else "broken"
