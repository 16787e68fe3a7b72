"""The messages as other services see them, by a message broker."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from loyalty.domain.bases import Command

USER = UUID("7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11")

ACCEPTED_FROM_BROKERS: Sequence[type[Command]] = ()
"""The commands that others may send: none. What they publish is in `subscriptions.py`."""

EXAMPLE_VALUES: Mapping[str, Any] = {
    "user_id": USER,
    "subject": USER,
    "threshold": 100,
}
"""What the fields of messages hold in the examples of the AsyncAPI document."""
