"""A second application: what others see of it has its name, and never that of the first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from aftercommit.settings import load

from allocation.config import Settings
from allocation.entrypoints.allocation import Allocation
from allocation.extension_list import EXTENSIONS


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

    def load(self, overrides: Mapping[str, Any]) -> ShopSettings:
        return load(
            ShopSettings,
            overrides,
            of_extensions=EXTENSIONS.settings(),
            log_formats=EXTENSIONS.log_formats,
        )
