"""The service, as the engine starts it. A command that is used imports what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, ClassVar

from aftercommit import App, command_line

from shop.extension_list import EXTENSIONS

if TYPE_CHECKING:
    from aftercommit import Application, Codec, Handlers, History, Observer

    from shop.config import Settings
    from shop.domain.aggregate import Command, Event


class Shop(App["Settings"]):
    """Takes orders."""

    name = "shop"
    summary = "Take orders, and see to what follows from them."
    extensions = EXTENSIONS
    default_database_url = "sqlite:///shop.db"
    commands: ClassVar = {"Use": ["shop.entrypoints.commands"]}

    def handlers(self) -> Handlers[Command, Event]:
        from shop.service_layer.handlers import HANDLERS

        return HANDLERS

    def codec(self) -> Codec[Event]:
        from shop.bootstrap import CODEC

        return CODEC

    def history(self) -> History:
        from shop.adapters.orm import HISTORY

        return HISTORY

    def settings(self) -> type[Settings]:
        from shop.config import Settings

        return Settings

    def open(
        self, settings: Settings, *, observers: Sequence[Observer] = (), delivers: bool = True
    ) -> AbstractAsyncContextManager[Application]:
        from shop.bootstrap import bootstrap

        return bootstrap(self, settings, observers=observers)


APP = Shop()
cli = command_line(APP)
