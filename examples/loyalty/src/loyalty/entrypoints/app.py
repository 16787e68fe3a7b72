"""The service, as the engine starts it: its parts, each imported when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aftercommit import App, command_line
from aftercommit.extensions.brokers import BrokersExtension
from aftercommit.extensions.operations import OperationsExtension
from aftercommit.extensions.postgresql import PostgreSQLExtension

if TYPE_CHECKING:
    from loyalty.config import Settings

COMMANDS = {
    "Use": {
        "loyalty.entrypoints.commands:credit_points": "Credit a user with points.",
        "loyalty.entrypoints.commands:accounts": "List the points of all users.",
    }
}
APP: App[Settings] = App(
    "loyalty",
    summary="Keep points, and order coupons for those who have collected enough.",
    handlers="loyalty.service_layer.handlers:HANDLERS",
    codec="loyalty.bootstrap:CODEC",
    history="loyalty.adapters.orm:HISTORY",
    settings="loyalty.config:Settings",
    open="loyalty.bootstrap:bootstrap",
    database_url="sqlite:///loyalty.db",
    extensions=[
        PostgreSQLExtension(),
        OperationsExtension(),
        BrokersExtension("loyalty.entrypoints.broker_messages"),
    ],
    commands=COMMANDS,
)
cli = command_line(APP)
