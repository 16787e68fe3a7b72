"""Where each command may come from: a decision for each, so that none is made by accident.

The command line and HTTP offer what this table says, by tests; a message broker refuses the rest.
"""

from enum import Enum

from allocation.domain.commands import (
    AddCouponBatch,
    ChangeEmail,
    Command,
    ImportUsers,
    RecordBounce,
    RedeemCoupon,
    RegisterUser,
)


class Entrance(Enum):
    """A way for a command to come in."""

    COMMAND_LINE = "command line"
    HTTP = "HTTP"
    BROKER = "broker"


EVERYWHERE = frozenset(Entrance)

ENTRANCES: dict[type[Command], frozenset[Entrance]] = {
    RegisterUser: EVERYWHERE,
    ImportUsers: frozenset({Entrance.COMMAND_LINE}),  # many rows: for operators
    ChangeEmail: EVERYWHERE,
    RecordBounce: frozenset(),  # only handlers return it
    AddCouponBatch: EVERYWHERE,
    # a code is money: it waits in no queue, and lies among no dead letters
    RedeemCoupon: frozenset({Entrance.COMMAND_LINE, Entrance.HTTP}),
}


def commands_from(entrance: Entrance) -> list[type[Command]]:
    """Return the commands that may come in there."""
    return [command for command, entrances in ENTRANCES.items() if entrance in entrances]
