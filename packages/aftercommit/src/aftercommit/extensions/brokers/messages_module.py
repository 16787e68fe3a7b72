"""Where the application says what others may send, and what messages hold in examples."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from aftercommit.process.app import App


class KnowsMessages:
    """An extension that was given the name of that module; without it, nothing comes in."""

    messages: str | None

    @property
    def accepted(self) -> Sequence[type[Any]]:
        """The commands that others may send."""
        accepted: Sequence[type[Any]] = self._read("ACCEPTED_FROM_BROKERS", ())
        return accepted

    @property
    def example_values(self) -> Mapping[str, Any]:
        """What the fields of messages hold in examples."""
        values: Mapping[str, Any] = self._read("EXAMPLE_VALUES", {})
        return values

    def _read(self, name: str, default: Any) -> Any:
        return getattr(import_module(self.messages), name) if self.messages else default


def messages_of(app: App[Any]) -> KnowsMessages:
    """Return what an application says of its messages."""
    return next(each for each in app.extensions if isinstance(each, KnowsMessages))
