"""A second application: what others see of it has its name, and never that of the first."""

from dataclasses import dataclass
from typing import ClassVar

from allocation.config import Settings
from allocation.entrypoints.app import Allocation


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopSettings(Settings):
    """Of the same kind, under another name."""

    application: ClassVar[str] = "shop"


class Shop(Allocation):
    """Does the same, under another name."""

    name = "shop"
    summary = "Sell things."
    default_database_url = "sqlite:///shop.db"
    options: ClassVar = {"--mail-url": "Where e-mails go; or {prefix}_MAIL_URL."}

    def settings(self) -> type[ShopSettings]:
        return ShopSettings
