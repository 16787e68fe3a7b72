"""Each guided experiment, begun by its button: what the page shows, and what is really there.

The database and the inbox are read by the tests themselves, not by the experiment.
"""

from collections import Counter
from typing import Any
from uuid import UUID

from aftercommit_tests.processes import LIMIT_SECONDS, outstanding
from playwright.sync_api import Locator, Page, expect

from playground.experiments import EXPERIMENTS
from tests.project.playground.playing import Playing

WELCOME = """
SELECT event_id, attempts + unavailable_attempts, token, owner, completed_at,
  json_extract(data, '$.email')
FROM aftercommit_deliveries AS deliveries JOIN aftercommit_events AS events ON events.id = event_id
WHERE deliveries.handler = 'send_welcome_email' ORDER BY recorded_at
"""
FAILURES = """
SELECT owner, attempt, error, event_id FROM aftercommit_failures
WHERE handler = 'send_welcome_email'
"""
LOST = "it had not finished when its lease ended"
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


def failed(play: Playing, reason: str) -> list[Any]:
    """Return the attempts that failed for this reason; a slow machine has time-outs, too."""
    return [row for row in play.rows(FAILURES) if reason in row[2]]


def welcomes(play: Playing) -> list[Any]:
    """Return the deliveries of the welcome e-mails: each is done, and its e-mail is there once."""
    rows = play.rows(WELCOME)
    for event, *_, completed_at, email in rows:
        assert completed_at
        assert play.emails(email, "Welcome") == [f"<{UUID(event)}.send_welcome_email@allocation>"]
    assert play.rows(f"SELECT count(*) FROM aftercommit_deliveries WHERE {outstanding()}") == [(0,)]
    return rows


def test_killed_after_the_commit(page: Page, play: Playing) -> None:
    """The other worker takes over with the next token, and there is one e-mail."""
    experiment = begin(page, "killed")
    expect(page.locator("#panel-processes li.gone")).to_contain_text("worker-")

    is_kept(experiment, "killed")

    ((_, claims, token, owner, *_),) = welcomes(play)
    ((killed, *_),) = failed(play, LOST)
    assert token == claims + 1  # and the first is 1
    assert name_of(owner) != name_of(killed)
    expect(page.locator("#list")).to_contain_text(LOST)
    expect(page.locator("#list")).to_contain_text(f"token {token}")


def test_the_frozen_owner(page: Page, play: Playing) -> None:
    """It goes on long after another one has done its work; it changes nothing, and works on."""
    experiment = begin(page, "frozen")
    expect(page.locator("#panel-processes li.frozen")).to_contain_text("worker-")

    is_kept(experiment, "frozen")

    (_, _, token, owner, *_), (*_, following) = welcomes(play)
    ((late, *_),) = failed(play, LOST)
    logged = play.rows(
        "SELECT deliveries.owner FROM aftercommit_deliveries AS deliveries "
        "JOIN aftercommit_events AS events ON events.id = event_id "
        f"WHERE deliveries.handler = 'log_registration' AND data LIKE '%{following}%'"
    )
    assert token > 2
    assert name_of(late) == name_of(logged[0][0])
    assert name_of(owner) != name_of(late)
    expect(page.locator("#list")).to_contain_text(LOST)


def test_mail_is_down(page: Page, play: Playing) -> None:
    """E-mails are tried again until the server is up; nobody else waits for it."""
    experiment = begin(page, "mail")
    expect(page.get_by_role("radio", name="refuses")).to_be_checked()
    expect(page.locator("#list")).to_contain_text("retry in")

    is_kept(experiment, "mail")

    events = [event for event, *_ in welcomes(play)]
    failures = Counter(event for *_, event in play.rows(FAILURES))
    ends = "SELECT {}(completed_at) FROM aftercommit_deliveries WHERE handler {} 'send_%'"
    assert len(events) == 5
    assert min(failures[event] for event in events) >= 3
    assert play.rows(ends.format("max", "NOT LIKE")) < play.rows(ends.format("min", "LIKE"))


def test_poison(page: Page, play: Playing) -> None:
    """What can never work is parked; others flow on; when its cause has gone, it is retried."""
    experiment = begin(page, "poison")
    expect(page.locator("#list")).to_contain_text("2 parked")
    expect(page.locator("#list")).to_contain_text(NO_MAILBOX)

    is_kept(experiment, "poison")

    *others, (poisoned, *_) = sorted(welcomes(play), key=lambda row: row[4])
    ((_, attempt, _, event),) = failed(play, NO_MAILBOX)
    assert len(others) == 3
    assert (event, attempt) == (poisoned, 1)  # parked at once, and retried at the end


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

    emails = [email for *_, email in welcomes(play)]
    new = "SELECT completed_at IS NOT NULL, replay FROM aftercommit_deliveries WHERE handler = '{}'"
    assert len(emails) == 3
    assert play.rows(new.format("announce_newsletter")) == [(1, 1)] * 3
    for email in emails:
        assert len(play.emails(email, "There is a newsletter now")) == 1
    expect(page.locator("#panel-processes")).not_to_contain_text("tomorrow’s version")
