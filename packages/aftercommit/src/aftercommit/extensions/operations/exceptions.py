"""The errors of this extension."""

from collections.abc import Collection

from aftercommit.errors import Refused


class DeliveryNotFound(Refused):
    """No delivery of this event to this handler is outstanding."""

    def __init__(self, event_id: object, handler: str) -> None:
        super().__init__(
            f"no delivery of event {event_id} to {handler} is outstanding; if there was one, it is"
            " done or discarded"
        )


class TraceNotFound(Refused):
    """Nothing matches this id, or the text that was given instead."""

    def __init__(self, about: str) -> None:
        super().__init__(f"no trace, command, event or subject is found by {about}")


class LimitNotFound(Refused):
    """No handler has a limit of this name."""

    def __init__(self, name: str, known: Collection[str]) -> None:
        names = ", ".join(sorted(known)) or "no limit at all"
        super().__init__(f"{name!r} is not a limit of a handler; there is {names}")


class ScheduleNotRemoved(Refused):
    """Only the last time of a schedule that the program no longer has can be forgotten."""

    def __init__(self, name: str, removed: Collection[str]) -> None:
        names = ", ".join(sorted(removed)) or "no such schedule"
        super().__init__(f"{name!r} is not stored, or is not removed; there is {names}")


class HasExternalEffects(Refused):
    """A handler would have external effects for past events; an option has to allow that."""

    def __init__(self, handler: str) -> None:
        super().__init__(
            f"{handler} has external effects, and would have them for each of these past"
            " events; pass --allow-side-effects to allow that"
        )


class OrderedHandler(Refused):
    """Past events would reach an ordered handler after later ones; pause it before a replay."""

    def __init__(self, handler: str, advice: str) -> None:
        super().__init__(f"{handler} is ordered: {advice}")


class NotAProjection(Refused):
    """Only a handler that updates a read model can repeat its work."""

    def __init__(self, handler: str) -> None:
        super().__init__(
            f"{handler} updates no read model, so it would do its work twice; without"
            " --again, it gets only the events for which it has no delivery"
        )
