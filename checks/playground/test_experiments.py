"""Each guided experiment, begun by its button: what the page shows, and what is really there.

The database and the inbox are read by the tests themselves, not by the experiment.
"""

from uuid import UUID

import pytest
from aftercommit_tests.processes import LIMIT_SECONDS, outstanding
from playwright.sync_api import Page, expect

from checks.playground.playing import Playing
from playground.experiments import EXPERIMENTS

pytestmark = pytest.mark.check

WELCOME = """
SELECT event_id, completed_at IS NOT NULL, json_extract(data, '$.email')
FROM aftercommit_deliveries AS deliveries JOIN aftercommit_events AS events ON events.id = event_id
WHERE deliveries.handler = 'send_welcome_email'
"""
SHOWN = {  # where the page shows the fault meanwhile, and as what
    "killed": ("#panel-processes li.gone", "worker-"),
    "frozen": ("#panel-processes li.frozen", "worker-"),
    "mail": ("#list", "retry in"),
    "poison": ("#list", "no such mailbox"),
    "coupons": ("#panel-registering", "answered"),
    "later": ("#panel-processes", "tomorrow’s version"),
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_keeps_its_promise(name: str, page: Page, play: Playing) -> None:
    """Each step is done, each fact is as promised, all is whole; and each e-mail is there once."""
    experiment = page.locator(f"#experiment-{name}")
    experiment.locator("summary").click()
    experiment.get_by_role("button", name="Begin").click()
    place, text = SHOWN[name]
    expect(page.locator(place)).to_contain_text(text)

    verdict = experiment.locator(".verdict")
    expect(verdict).to_have_text("promise kept", timeout=2 * LIMIT_SECONDS * 1000)
    expect(experiment.locator(".steps .done")).to_have_count(len(EXPERIMENTS[name].steps) + 1)
    expect(experiment.locator(".found .so")).not_to_have_count(0)
    expect(experiment.locator(".found .not")).to_have_count(0)
    expect(page.locator("#panel-processes li.running")).to_have_count(3)
    expect(page.get_by_role("radio", name="up")).to_be_checked()
    with page.expect_popup() as opened:  # who does not believe it, reads on
        experiment.get_by_role("link", name="The promise and its test").click()
    expect(opened.value.get_by_role("heading").first).to_have_text(EXPERIMENTS[name].promise)

    assert play.rows(f"SELECT count(*) FROM aftercommit_deliveries WHERE {outstanding()}") == [(0,)]
    for event, is_done, email in play.rows(WELCOME):
        assert is_done
        assert play.emails(email, "Welcome") == [f"<{UUID(event)}.send_welcome_email@allocation>"]
