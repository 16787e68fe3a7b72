"""Its messages as others see them."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from aftercommit_tests.things.domain import Command, MakeThing, RenameThing

LAMP = UUID("7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11")
ACCEPTED_FROM_BROKERS: Sequence[type[Command]] = (MakeThing, RenameThing)
EXAMPLE_VALUES: Mapping[str, Any] = {"thing_id": LAMP, "name": "lamp", "subject": LAMP}
