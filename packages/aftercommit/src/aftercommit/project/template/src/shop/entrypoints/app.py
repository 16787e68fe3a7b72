"""The service, as the engine starts it: its parts. They are imported when they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aftercommit import App, command_line

from shop.extension_list import EXTENSIONS

if TYPE_CHECKING:
    from shop.config import Settings

COMMANDS = {
    "Use": {
        "shop.entrypoints.commands:place_order": (
            "Order some articles: place-order EMAIL lamp=1 chair=4."
        ),
        "shop.entrypoints.commands:cancel_order": "Take an order back.",
        "shop.entrypoints.commands:orders": "List all orders.",
    }
}
APP: App[Settings] = App(
    "shop",
    summary="Take orders, and see to what follows from them.",
    handlers="shop.service_layer.handlers:HANDLERS",
    codec="shop.bootstrap:CODEC",
    history="shop.adapters.orm:HISTORY",
    settings="shop.config:Settings",
    open="shop.bootstrap:bootstrap",
    database_url="sqlite:///shop.db",
    extensions=EXTENSIONS,
    commands=COMMANDS,
)
cli = command_line(APP)
