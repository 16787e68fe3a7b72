"""The settings, besides those of the engine and its extensions.

Each is an environment variable, such as LOYALTY_DATABASE_URL.
"""

from dataclasses import dataclass
from typing import ClassVar

from aftercommit import EngineSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(EngineSettings):
    """What can be set."""

    application: ClassVar[str] = "loyalty"

    database_url: str = "sqlite:///loyalty.db"
