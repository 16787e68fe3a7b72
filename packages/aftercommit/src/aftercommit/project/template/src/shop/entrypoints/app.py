"""The service, as the engine starts it: its parts, each imported when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aftercommit import App, command_line
from aftercommit.extensions.brokers import BrokersExtension
from aftercommit.extensions.metrics import MetricsExtension
from aftercommit.extensions.operations import OperationsExtension
from aftercommit.extensions.page import PageExtension
from aftercommit.extensions.postgresql import PostgreSQLExtension
from aftercommit.extensions.smtp import SmtpExtension
from aftercommit.extensions.web import WebExtension

if TYPE_CHECKING:
    from shop.config import Settings

COMMANDS = {
    "Use": {
        "shop.entrypoints.commands:place_order": "Order some articles.",
        "shop.entrypoints.commands:cancel_order": "Cancel an order.",
        "shop.entrypoints.commands:orders": "List all orders.",
    }
}
APP: App[Settings] = App(
    "shop",
    summary="Take orders, and do what follows from them.",
    handlers="shop.service_layer.handlers:HANDLERS",
    codec="shop.bootstrap:CODEC",
    history="shop.adapters.orm:HISTORY",
    settings="shop.config:Settings",
    open="shop.bootstrap:bootstrap",
    database_url="sqlite:///shop.db",
    extensions=[
        PostgreSQLExtension(),
        SmtpExtension("emails"),
        OperationsExtension(),
        BrokersExtension("shop.entrypoints.broker_messages"),
        MetricsExtension(),
        WebExtension("shop.entrypoints.http"),
        PageExtension(),
    ],
    commands=COMMANDS,
)
cli = command_line(APP)
