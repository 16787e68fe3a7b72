"""The extension "otel": traces, by OpenTelemetry's API. One trace may span processes and days.

Where they go is set up from outside, as by `opentelemetry-instrument COMMAND worker`. Without
that, nothing of OpenTelemetry is imported.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from aftercommit.process.extension import Extension

if TYPE_CHECKING:
    from aftercommit.observers import Observer
    from aftercommit.settings import EngineSettings


class OtelExtension(Extension):
    """What it brings to the program.

    >>> from aftercommit import Extensions
    >>> from aftercommit.extensions.otel import OtelExtension
    >>> extensions = Extensions([OtelExtension()])
    >>> extensions[0].observer(None)  # unless `opentelemetry-instrument` has started the process
    """

    name = "otel"

    def observer(self, settings: EngineSettings) -> AbstractContextManager[Observer] | None:
        if "opentelemetry.sdk.trace" not in sys.modules:
            return None
        from aftercommit.extensions.otel.spans import tracing

        return tracing(settings.application)
