"""Whether there are traces, and where they go: said by OpenTelemetry's own environment variables.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ has them all. They
are not settings of this program: the SDK reads them, here it is only asked whether any is set.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import environ

from allocation.service_layer.facts import Fact, Observer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

logger = logging.getLogger(__name__)


@contextmanager
def tracing() -> Iterator[Observer]:
    """Make spans and export them, while the context lasts, if an exporter is asked for.

    What is wrong with it is logged, and stops nobody: traces are not worth a registration.
    """
    name = exporter_name(environ)
    if name is None:
        yield _idle
        return
    try:
        from allocation.adapters.otel.exporting import Exporting

        exporting = Exporting(name)
    except Exception as error:
        logger.warning("there are no traces: %s: %s", type(error).__name__, error)
        yield _idle
        return
    try:
        yield exporting.spans
    finally:
        exporting.close()


def exporter_name(environment: Mapping[str, str]) -> str | None:
    """Return the name of the exporter that is asked for, if one is."""
    default = "otlp" if any(map(environment.get, ENDPOINTS)) else "none"
    name = environment.get("OTEL_TRACES_EXPORTER") or default
    disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return None if disabled or name == "none" else name


def _idle(fact: Fact) -> None:
    """Let it pass."""
