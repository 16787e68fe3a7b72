"""The settings of the extension, read together with the others: see `aftercommit.settings`."""

from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """Which brokers there are, and how many messages to take from them."""

    broker_urls: Annotated[str | None, "nothing is published"] = field(default=None, repr=False)
    prefetch: Annotated[
        int,
        Meta(ge=1, le=1000, description="how many"),
        "as many as are dispatched at the same time",
    ] = 20

    answer_to: Annotated[str | None, "no answers are sent"] = None

    @property
    def answers_allowed(self) -> list[str]:
        """The patterns for the queues and topics to which answers may be sent."""
        return (self.answer_to or "").split()

    @property
    def urls(self) -> list[str]:
        """The URLs of the brokers, in order; empty if there is no broker."""
        return (self.broker_urls or "").split()
