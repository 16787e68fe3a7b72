"""The guided experiments: each does what a user could do at the panel, in order, and judges.

Faults are made with the panel's means only. The results are read in the database and the inbox.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count

from aftercommit.extensions.operations.causation_tree import Node

from playground import verdict_counts
from playground.experiment_run import LOOK_SECONDS, ExperimentRun, process_of
from playground.one_more_handler import SUBJECT, announce_newsletter
from playground.playground import Playground, is_email_handler, wait_for
from playground.processes import NEXT, Child
from playground.registration_client import Registered

WELCOME = "send_welcome_email"
NEW_HANDLER = announce_newsletter.__name__
MANY = 100
LEFT_OF_LEASE = timedelta(seconds=3)  # of 5; the attempt's time limit is one second before its end

logger = logging.getLogger(__name__)

_numbers = count(1)


async def killed_after_the_commit(play: Playground, run: ExperimentRun) -> None:
    """The process that sends the e-mail is killed meanwhile; another one takes over."""
    await run.step("hang")
    await play.proxy.set_mode("hangs")
    user, before, owner = await _running_email(play, run)
    await run.step("killed")
    await owner.kill()
    await play.proxy.set_mode("up")
    await run.step("lease")
    await _until_all(play, [user], _is_done)
    after = await play.delivery(user, WELCOME)
    run.check_another_owner(before, after)
    run.check_one_email(play.mailboxes.to(user.email, "Welcome"), after)


async def the_frozen_owner(play: Playground, run: ExperimentRun) -> None:
    """A process wakes up long after its lease, when another one has done its work."""
    await run.step("hang")
    await play.proxy.set_mode("hangs")
    user, before, owner = await _running_email(play, run)
    await run.step("stopped")
    await play.freeze(owner)
    await play.proxy.set_mode("up")
    await run.step("lease")
    await _until_all(play, [user], lambda row: row.is_settled)
    after = await play.delivery(user, WELCOME)
    run.check_another_owner(before, after)
    await run.step("woken")
    owner.thaw()
    other = play.children[process_of(after)]
    await play.freeze(other)  # the next user is left to the process that wakes
    following = await play.registrations.register()
    done = await wait_for(lambda: _done(play, following, "log_registration"))
    run.check("works_on", is_so=process_of(done) == owner.name, process=process_of(done))
    other.thaw()  # the process that wakes leaves the mail server alone for some seconds
    await _until_all(play, [following], _is_done)
    run.check("changed_nothing", is_so=await play.delivery(user, WELCOME) == after)
    run.check_one_email(play.mailboxes.to(user.email, "Welcome"), after)


async def mail_is_down(play: Playground, run: ExperimentRun) -> None:
    """E-mails are retried with growing delays; nothing else waits for them."""
    await run.step("refuse")
    await play.proxy.set_mode("refuses")
    await run.step("register")
    users = await _register(play, run, 5)
    await run.step("others")
    await _until_all(play, users, lambda row: is_email_handler(row.name) or _is_done(row))
    await run.step("backoff")
    await _until_all(play, users, lambda row: row.name != WELCOME or len(row.failures) > 3)
    rows = await play.deliveries(*users)
    others = [_is_done(row) for row in rows if not is_email_handler(row.name)]
    unsent = [row for row in rows if row.name == WELCOME and not _is_done(row)]
    run.check("nobody_waited", is_so=all(others), count=len(others))
    run.check("all_unsent", is_so=len(unsent) == len(users), count=len(unsent))
    await run.step("up")
    await play.proxy.set_mode("up")
    await _until_all(play, users, _is_done)
    run.check_one_each([len(play.mailboxes.to(user.email, "Welcome")) for user in users])


async def poison(play: Playground, run: ExperimentRun) -> None:
    """Work that can never succeed is parked, and blocks nobody; after a repair, it is retried."""
    await run.step("poison")
    email = play.registrations.new_email()
    play.mailboxes.unknown.add(email)
    user = await play.registrations.register(email)
    run.trace = str(user.trace)
    await run.step("others")
    others = await play.registrations.register_many(3)
    await _until_all(play, [user, *others], lambda row: row.is_settled)
    parked = [row for row in await play.deliveries(user) if not _is_done(row)]
    flow = [_is_done(row) for row in await play.deliveries(*others)]
    is_so = WELCOME in [row.name for row in parked] and all(
        is_email_handler(row.name) for row in parked
    )
    run.check("parked", is_so=is_so, count=len(parked))
    run.check("others_flow", is_so=all(flow), count=len(flow))
    await run.step("stays", seconds=LOOK_SECONDS)
    await run.step("retry")
    play.mailboxes.unknown.clear()
    for row in parked:
        await play.registrations.post(f"/deliveries/{row.parent}/{row.name}/retry")
    await _until_all(play, [user], _is_done)
    users = [user, *others]
    run.check_one_each([len(play.mailboxes.to(user.email, "Welcome")) for user in users])


async def never_one_coupon_too_many(play: Playground, run: ExperimentRun) -> None:
    """A hundred users want one of ten coupons at the same time."""
    await run.step("coupons")
    left = await play.fill_up_coupons(f"TEN-{next(_numbers)}")
    before = await verdict_counts.count_coupons(play.application.database)
    await run.step("register")
    users = await play.registrations.register_many(MANY)
    await run.step("complete")
    await _until_all(play, users, lambda row: row.is_settled)
    after = await verdict_counts.count_coupons(play.application.database)
    got = after.allocated - before.allocated
    emails = sum(len(play.mailboxes.to(user.email, "Your welcome coupon")) for user in users)
    run.check("allocated", is_so=got == min(left, MANY), count=got, left=after.remaining)
    run.check("one_each", is_so=after.users == after.allocated, count=after.users)
    run.check("coupon_emails", is_so=emails == got, count=emails)


async def a_handler_added_later(play: Playground, run: ExperimentRun) -> None:
    """A new version of the program has one more handler, which gets the past events."""
    database = play.application.database
    await run.step("register")
    users = await _register(play, run, 3)
    await _until_all(play, users, lambda row: row.is_settled)
    past = await verdict_counts.count_events(database, "user_registered")
    await run.step("replace")
    await play.replace(NEXT)
    await run.step("replay")
    options = ("--allow-side-effects", "--yes")
    await play.run("deliveries", "replay", NEW_HANDLER, *options, version=NEXT)
    await run.step("work")
    filled = await wait_for(lambda: verdict_counts.completed_of(database, NEW_HANDLER))
    run.check("backfilled", is_so=filled >= past, count=filled, past=past)
    arrived = [each for each in play.mailboxes.received if not each.is_repeated]
    got = Counter(each.recipient for each in arrived if each.subject == SUBJECT)
    run.check("each_once", is_so={*got.values()} == {1}, count=len(got))


async def _register(play: Playground, run: ExperimentRun, number: int) -> Sequence[Registered]:
    users = await play.registrations.register_many(number)
    run.trace = str(users[-1].trace)
    return users


async def _running_email(play: Playground, run: ExperimentRun) -> tuple[Registered, Node, Child]:
    """Register a user; return the e-mail, the only remaining delivery, and its owner.

    Its attempt began so recently that it is still running after the pause of the next step.
    """
    await run.step("register")
    (user,) = await _register(play, run, 1)
    await run.step("running_email")

    async def waiting_for_mail() -> Node | None:
        rest = [row for row in await play.deliveries(user) if not _is_done(row)]
        hangs = play.proxy.stalled and all(is_email_handler(row.name) for row in rest)
        ours = (row for row in rest if row.name == WELCOME and _has_just_begun(row))
        return next(ours, None) if hangs else None

    delivery = await wait_for(waiting_for_mail)
    return user, delivery, play.children[process_of(delivery)]


async def _until_all(
    play: Playground, users: Sequence[Registered], is_so: Callable[[Node], bool]
) -> None:
    async def all_are() -> bool:
        return all(map(is_so, await play.deliveries(*users)))

    await wait_for(all_are)


def _is_done(delivery: Node) -> bool:
    return delivery.state == "done"


def _has_just_begun(delivery: Node) -> bool:
    """Tell whether an attempt is running that has most of its lease left, until `available_at`."""
    ends = delivery.available_at if delivery.state == "running" else None
    return ends is not None and ends - datetime.now(UTC) > LEFT_OF_LEASE


async def _done(play: Playground, user: Registered, handler: str) -> Node | None:
    delivery = await play.delivery(user, handler)
    return delivery if _is_done(delivery) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """An experiment, the guarantee that it shows, and the test that proves it."""

    run: Callable[[Playground, ExperimentRun], Awaitable[None]]
    steps: Sequence[str]
    promise: str  # a heading of guarantees.md or extensions.md
    proof: str


ENGINE = "packages/aftercommit/tests/aftercommit_tests"
EXPERIMENTS = {
    "killed": Experiment(
        run=killed_after_the_commit,
        steps=("hang", "register", "running_email", "killed", "lease"),
        promise="Every handler of a committed event does its work, or is parked",
        proof=f"{ENGINE}/processes/test_crash_matrix.py::test_a_worker_survives_a_kill",
    ),
    "frozen": Experiment(
        run=the_frozen_owner,
        steps=("hang", "register", "running_email", "stopped", "lease", "woken"),
        promise="Two processes never both complete a delivery",
        proof="packages/aftercommit/tests/aftercommit_tests/test_claims_contract.py"
        "::test_a_late_owner_changes_nothing",
    ),
    "mail": Experiment(
        run=mail_is_down,
        steps=("refuse", "register", "others", "backoff", "up"),
        promise="A failing handler hurts nobody else",
        proof="packages/aftercommit/tests/aftercommit_tests/test_failing_handlers.py"
        "::test_a_failing_handler_leaves_the_work_of_its_siblings_done",
    ),
    "poison": Experiment(
        run=poison,
        steps=("poison", "others", "stays", "retry"),
        promise="Work that can never succeed is parked, not retried forever",
        proof="packages/aftercommit/tests/aftercommit_tests/test_failing_handlers.py"
        "::test_a_permanent_error_parks_the_delivery_at_once",
    ),
    "coupons": Experiment(
        run=never_one_coupon_too_many,
        steps=("coupons", "register", "complete"),
        promise="Never one coupon too many, never two for one user",
        proof="tests/integration/test_races.py"
        "::test_never_one_coupon_too_many_and_never_two_for_one_user",
    ),
    "later": Experiment(
        run=a_handler_added_later,
        steps=("register", "replace", "replay", "work"),
        promise="A handler added later can process past events",
        proof=f"{ENGINE}/extensions/operations/test_replayed_events.py"
        "::test_what_a_handler_was_never_owed_is_owed",
    ),
}


async def carry_out(play: Playground, experiment: Experiment, run: ExperimentRun) -> None:
    """Run an experiment in an intact playground, and restore it afterwards."""
    try:
        await play.restore()
        await experiment.run(play, run)
    except Exception as error:  # that is a verdict, too
        logger.exception("an experiment failed")
        run.check("failed", is_so=False, error=f"{type(error).__name__}: {error}")
    await run.step("restore")
    await play.restore()
    run.end()
