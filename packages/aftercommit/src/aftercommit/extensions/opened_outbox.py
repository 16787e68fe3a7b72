"""What `running()` of an outbox has opened in this process, for what is mounted in its application.

Any extension may import this. A mounted application gets no lifespan of its own, so it asks here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from anyio.abc import TaskGroup
from anyio.lowlevel import current_token

from aftercommit.errors import WiringError, install_hint
from aftercommit.process.application import Application
from aftercommit.process.parts import resolve
from aftercommit.process.running_services import Shutdown
from aftercommit.settings import EngineSettings


@dataclass(frozen=True, slots=True, eq=False)
class OpenedOutbox:
    """An outbox that runs, on the event loop of the process that answers requests.

    `wake` lets its worker look for due deliveries now. Tasks of the `group` end with `running()`.
    `made` keeps what a mounted application has made of the outbox, by the name of the extension.
    """

    application: Application
    settings: EngineSettings
    stop: Shutdown
    group: TaskGroup
    wake: Callable[[], object]
    made: dict[str, Any] = field(default_factory=dict)


class OpenedHere:
    """The outboxes that this process has opened: one, or none outside of `running()`.

    `settings` are those with which `running()` opens an outbox, because something was mounted that
    needs them.
    """

    def __init__(self) -> None:
        self.settings: dict[str, object] = {}
        self._opened: list[tuple[object, OpenedOutbox]] = []

    @contextmanager
    def adding(self, opened: OpenedOutbox) -> Iterator[None]:
        """Offer an outbox while the context lasts."""
        entry = current_token(), opened
        self._opened.append(entry)
        try:
            yield
        finally:
            self._opened.remove(entry)

    def find(self) -> OpenedOutbox | None:
        """Return the outbox that this event loop runs; what runs in a thread has another one."""
        token = current_token()
        return next((opened for of, opened in reversed(self._opened) if of == token), None)


def in_web_application(place: str) -> Any:
    """Import what an extension mounts in an application of others; it has the place "module:NAME".

    :raises WiringError: if what the extension needs is not installed
    """
    try:
        return resolve(f"aftercommit.extensions.{place}")
    except ModuleNotFoundError as error:
        problem = f"what is mounted needs {error.name}, which is not installed; try"
        raise WiringError(problem, install_hint(place.partition(".")[0])) from None
