"""What the catalogue of another team publishes, in its words, and what that means here."""

from dataclasses import dataclass
from uuid import UUID

from aftercommit.extensions.brokers.subscriptions import Inbound, Subscription

from aftercommit_tests.things.domain import MakeThing, ThingId


@dataclass
class Item:
    """What we rely on; their messages say more."""

    sku: UUID
    title: str
    kind: str = "thing"


def item_listed(message: Inbound) -> MakeThing | None:
    """Make a thing of each item of theirs that is one."""
    item = message.data(Item)
    if item.kind != "thing":
        return None
    return MakeThing(thing_id=ThingId(item.sku), name=item.title)


SUBSCRIPTIONS = [
    Subscription(
        "catalogue",
        item_listed,
        exchange="catalogue.events",
        routing_keys=["item.listed", "item.relisted"],
        topic="catalogue",
    ),
]
