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


class EffectOutside(Refused):
    """A handler with an effect outside would have it for the past, which has to be wanted."""

    def __init__(self, handler: str) -> None:
        super().__init__(
            f"{handler} has an effect outside, and would have it now for all these past events,"
            " such as e-mails that were sent long ago: --outside-effects, if that is wanted"
        )


class ReplayUnderWay(Refused):
    """A replay of the handler that has another scope has not come to its end."""

    def __init__(self, handler: str, scope: str) -> None:
        super().__init__(
            f"another replay of {handler} has not come to its end: finish it, with exactly"
            f' "{scope}", or forget the rest of it, with --drop'
        )


class ReplayNotFound(Refused):
    """No replay of this handler is under way."""

    def __init__(self, handler: str) -> None:
        super().__init__(f"no replay of {handler} is under way")
