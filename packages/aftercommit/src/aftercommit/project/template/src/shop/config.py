"""The settings of the service, besides those of the engine and its extensions.

Each field is an environment variable: `patience` is SHOP_PATIENCE.
`.env.example` lists all of them.
"""

from dataclasses import dataclass
from typing import ClassVar

from aftercommit import EngineSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(EngineSettings):
    """What can be set."""

    application: ClassVar[str] = "shop"
