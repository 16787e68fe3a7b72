"""A table whose handlers take things in order: those of a third in one lane."""

from aftercommit import Ordered

from aftercommit_tests.builders import PLAIN, table
from aftercommit_tests.things.domain import ThingMade
from aftercommit_tests.things.handlers import announce, write_down


def lane_of(name: str) -> str:
    """Return by what a thing is ordered: a third of them together, whichever they are."""
    return str(int(name.split()[-1]) % 3)


HANDLERS = table(
    {**PLAIN, ThingMade: [Ordered(announce), Ordered(write_down)]},
    keys={ThingMade: lambda event: lane_of(event.name)},
)
