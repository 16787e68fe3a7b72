"""Pages do not list what grows: one more handler must not make them wrong."""

import re

import pytest

from allocation.config import Settings
from allocation.service_layer.handlers import HANDLERS
from tools.generated import PAGES, PART

pytestmark = pytest.mark.check

FEWEST = 3  # fewer handlers of an event may be named together


def test_no_page_lists_all_handlers_of_an_event_by_hand() -> None:
    """Generate the list, or let `…` stand for the handlers that the page is not about."""
    handlers = {
        event.__name__: names
        for event, names in HANDLERS.subscriptions(Settings()).items()
        if len(names) >= FEWEST
    }
    blocks = [
        (page, block)
        for page in PAGES
        for block in re.split(r"\n{2,}", PART.sub("", page.read_text()))
    ]

    assert {"UserRegistered", "CouponAllocated"} <= handlers.keys()
    assert len(blocks) > 1000
    assert [
        f"{page.name}, handlers of {event}: {block[:60]}"
        for page, block in blocks
        for event, names in handlers.items()
        if all(name in block for name in names)
    ] == []
