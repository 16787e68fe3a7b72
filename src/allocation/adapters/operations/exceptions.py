"""The errors of this room."""

from allocation.domain.exceptions import Refused


class DeliveryNotFound(Refused):
    """No delivery of this event to this handler is owed."""

    def __init__(self, event_id: object, handler: str) -> None:
        super().__init__(f"there is no delivery of event {event_id} to {handler}")


class TraceNotFound(Refused):
    """Nothing is stored about what a trace was asked for."""

    def __init__(self, about: object, looked_for: str) -> None:
        super().__init__(f"nothing is stored about {about}; it was looked for as {looked_for}")
