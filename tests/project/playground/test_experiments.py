"""Each guided experiment, begun by its button: what the page shows, and what is really there.

The database and the inbox are read by the tests themselves, not by the experiment.
"""

from uuid import UUID

from playwright.sync_api import Locator, Page, expect

from playground.experiments import EXPERIMENTS
from tests.e2e.processes import LIMIT_SECONDS, outstanding
from tests.project.playground.playing import Playing

WELCOME = """
SELECT event_id, attempts, token, owner, completed_at, json_extract(data, '$.email')
FROM aftercommit_deliveries AS deliveries JOIN aftercommit_events AS events ON events.id = event_id
WHERE deliveries.handler = 'send_welcome_email' ORDER BY recorded_at
"""
FAILURES = (
    "SELECT owner, attempt, error FROM aftercommit_failures WHERE handler = 'send_welcome_email'"
)
UNAVAILABLE = (
    "SELECT unavailable_attempts FROM aftercommit_deliveries WHERE handler = 'send_welcome_email'"
)
NO_MAILBOX = "no such mailbox"


def begin(page: Page, name: str) -> Locator:
    """Press the button of an experiment, and return all that is said about it."""
    experiment = page.locator(f"#experiment-{name}")
    experiment.locator("summary").click()
    experiment.get_by_role("button", name="Begin").click()
    expect(experiment.locator("[aria-current=step]")).to_be_visible()
    return experiment


def is_kept(experiment: Locator, name: str) -> None:
    """Wait for the verdict: each step was done, each fact is as promised, and all is whole."""
    verdict = experiment.locator(".verdict")
    expect(verdict).to_have_text("promise kept", timeout=2 * LIMIT_SECONDS * 1000)
    expect(experiment.locator(".steps .done")).to_have_count(len(EXPERIMENTS[name].steps) + 1)
    expect(experiment.locator(".found .so")).not_to_have_count(0)
    expect(experiment.locator(".found .not")).to_have_count(0)
    expect(experiment.page.locator("#panel-processes li.running")).to_have_count(3)
    expect(experiment.page.get_by_role("radio", name="up")).to_be_checked()
    with experiment.page.expect_popup() as opened:  # who does not believe it, reads on
        experiment.get_by_role("link", name="The promise and its test").click()
    expect(opened.value.get_by_role("heading").first).to_have_text(EXPERIMENTS[name].promise)


def name_of(process: str) -> str:
    return process.partition("@")[0]


def lost_leases(play: Playing) -> list[tuple[str, int]]:
    """Return the owner and the attempt of each lost lease; a slow machine has time-outs, too."""
    lost = "it had not finished when its lease ended"
    return [(owner, attempt) for owner, attempt, error in play.rows(FAILURES) if lost in error]


def message_id(event_id: str, handler: str = "send_welcome_email") -> str:
    return f"<{UUID(event_id)}.{handler}@allocation>"


def test_killed_after_the_commit(page: Page, play: Playing) -> None:
    """The other worker takes over with the next token, and there is one e-mail."""
    experiment = begin(page, "killed")
    expect(page.locator("#panel-processes li.gone")).to_contain_text("worker-")

    is_kept(experiment, "killed")

    ((event, attempts, token, owner, completed_at, email),) = play.rows(WELCOME)
    ((killed, attempt),) = lost_leases(play)
    ((unavailable,),) = play.rows(UNAVAILABLE)  # claims that were no attempts
    assert completed_at
    assert (attempts, token) == (attempt + 1, attempt + unavailable + 2)
    assert name_of(owner) != name_of(killed)
    assert play.emails(email, "Welcome") == [message_id(event)]
    assert play.rows(f"SELECT count(*) FROM aftercommit_deliveries WHERE {outstanding()}") == [(0,)]
    trace = page.locator("#list")
    expect(trace).to_contain_text("it had not finished when its lease ended")
    expect(trace).to_contain_text(f"token {token}")
    expect(page.locator("#panel-inbox")).to_contain_text(message_id(event))


def test_the_frozen_owner(page: Page, play: Playing) -> None:
    """It goes on long after another one has done its work; it changes nothing, and works on."""
    experiment = begin(page, "frozen")
    expect(page.locator("#panel-processes li.frozen")).to_contain_text("worker-")

    is_kept(experiment, "frozen")

    (event, _, token, owner, completed_at, email), (_, *_, following) = play.rows(WELCOME)
    ((late, _),) = lost_leases(play)
    logged = play.rows(
        "SELECT deliveries.owner FROM aftercommit_deliveries AS deliveries "
        "JOIN aftercommit_events AS events ON events.id = event_id "
        f"WHERE deliveries.handler = 'log_registration' AND data LIKE '%{following}%'"
    )
    assert completed_at
    assert token > 2
    assert name_of(late) == name_of(logged[0][0])
    assert name_of(owner) != name_of(late)
    assert play.emails(email, "Welcome") == [message_id(event)]
    expect(page.locator("#list")).to_contain_text("it had not finished when its lease ended")


def test_mail_is_down(page: Page, play: Playing) -> None:
    """E-mails are tried again until the server is up; nobody else waits for it."""
    experiment = begin(page, "mail")
    expect(page.get_by_role("radio", name="refuses")).to_be_checked()
    expect(page.locator("#list")).to_contain_text("retry in")

    is_kept(experiment, "mail")

    rows = play.rows(WELCOME)
    failures = play.rows(
        "SELECT count(*) FROM aftercommit_failures "
        "WHERE handler = 'send_welcome_email' GROUP BY event_id"
    )
    ends = "SELECT {}(completed_at) FROM aftercommit_deliveries WHERE handler {} 'send_%'"
    assert len(rows) == 5
    assert all(count >= 3 for (count,) in failures)
    assert play.rows(ends.format("max", "NOT LIKE")) < play.rows(ends.format("min", "LIKE"))
    for event, *_, email in rows:
        assert play.emails(email, "Welcome") == [message_id(event)]


def test_poison(page: Page, play: Playing) -> None:
    """What can never work is parked; others flow on; when its cause has gone, it is retried."""
    experiment = begin(page, "poison")
    expect(page.locator("#list")).to_contain_text("2 parked")
    expect(page.locator("#list")).to_contain_text(NO_MAILBOX)

    is_kept(experiment, "poison")

    rows = play.rows(WELCOME)
    (attempt,) = [attempt for _, attempt, error in play.rows(FAILURES) if NO_MAILBOX in error]
    poisoned, *others = sorted(rows, key=lambda row: row[4], reverse=True)
    assert len(others) == 3
    assert attempt == 1  # parked at once
    for event, *_, email in rows:
        assert play.emails(email, "Welcome") == [message_id(event)]
    assert poisoned[0] in play.rows("SELECT group_concat(event_id) FROM aftercommit_failures")[0][0]


def test_never_one_coupon_too_many(page: Page, play: Playing) -> None:
    """A hundred at once want one of ten coupons."""
    experiment = begin(page, "coupons")

    is_kept(experiment, "coupons")

    assert play.rows("SELECT count(*) FROM users") == [(100,)]
    assert play.rows("SELECT count(*), count(DISTINCT user_id) FROM coupons") == [(10, 10)]
    assert play.rows("SELECT sum(quantity), sum(remaining) FROM coupon_batches") == [(10, 0)]
    both = "SELECT count(DISTINCT owner) FROM aftercommit_deliveries"
    assert play.rows(both) == [(2,)]  # have worked
    mail = play.state()["mail"]
    emails = [each["subject"] for each in mail["latest"] if not each["is_repeated"]]
    assert emails.count("Your welcome coupon") == 10
    assert emails.count("Out of welcome coupons") == 1
    assert len(emails) == 111
    expect(page.locator("#panel-count")).to_have_text(str(mail["count"]))
    expect(page.locator("#panel-registering")).to_contain_text("100 answered")


def test_a_handler_added_later(page: Page, play: Playing) -> None:
    """It is owed what happened before it was there, each event once."""
    experiment = begin(page, "later")
    expect(page.locator("#panel-processes")).to_contain_text("tomorrow’s version")

    is_kept(experiment, "later")

    emails = [email for *_, email in play.rows(WELCOME)]
    new = "SELECT completed_at IS NOT NULL, replay FROM aftercommit_deliveries WHERE handler = '{}'"
    assert len(emails) == 3
    assert play.rows(new.format("announce_newsletter")) == [(1, 1)] * 3
    for email in emails:
        assert len(play.emails(email, "There is a newsletter now")) == 1
    expect(page.locator("#panel-processes")).not_to_contain_text("tomorrow’s version")
