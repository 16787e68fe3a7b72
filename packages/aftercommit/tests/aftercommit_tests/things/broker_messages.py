"""Its messages as others see them, and what the catalogue of another team publishes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aftercommit_tests.inside.brokers import Inbound, Subscription
from aftercommit_tests.things.domain import Command, MakeThing, RenameThing, ThingId

LAMP = UUID("7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11")
ACCEPTED_FROM_BROKERS: Sequence[type[Command]] = (MakeThing, RenameThing)
EXAMPLE_VALUES: Mapping[str, Any] = {"thing_id": LAMP, "name": "lamp", "subject": LAMP}


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
        relies_on=Item,
    ),
]
