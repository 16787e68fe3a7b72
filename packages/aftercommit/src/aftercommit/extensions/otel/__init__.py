"""The extension "otel": traces, by OpenTelemetry's API. A trace may span processes and days.

Their export is configured from outside, for example by `opentelemetry-instrument COMMAND worker`.
Otherwise, nothing of OpenTelemetry is imported.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from aftercommit.process.parts import Extension, Parts

if TYPE_CHECKING:
    from aftercommit.observers import Observer
    from aftercommit.settings import EngineSettings


class OtelExtension(Extension):
    """Adds spans to an application.

    >>> from aftercommit.extensions.otel import OtelExtension
    >>> [observer] = OtelExtension().parts().observers
    >>> observer(None)  # unless `opentelemetry-instrument` has started the process
    """

    def parts(self) -> Parts:
        return Parts(name="otel", observers=[_observer])


def _observer(settings: EngineSettings) -> AbstractContextManager[Observer] | None:
    if "opentelemetry.sdk.trace" not in sys.modules:
        return None
    from aftercommit.extensions.otel.spans import tracing

    return tracing(settings.application)
