"""Exports spans in batches, from a thread of the SDK's, so that nobody waits for a collector."""

import logging
from importlib.metadata import entry_points
from threading import Thread

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from allocation.adapters.otel.spans import Spans

FAREWELL_SECONDS = 2  # in which the last spans may go out; a collector may be away for longer
LIBRARY = "allocation"  # the instrumentation scope
ALIASES = {"otlp": "otlp_proto_http"}  # the one that the extra brings

logger = logging.getLogger(__name__)


class Exporting:
    """The SDK, with one exporter; what else there is to set, it reads from the environment."""

    def __init__(self, name: str) -> None:
        # shutdown_on_exit would wait for a collector that is away, for as long as that takes
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_exporter(name)))
        self.spans = Spans(self._provider.get_tracer(LIBRARY))

    def close(self) -> None:
        """Let the last spans go out, if that is soon done."""
        farewell = Thread(target=self._shut_down, daemon=True)
        farewell.start()
        farewell.join(FAREWELL_SECONDS)
        if farewell.is_alive():
            logger.warning("the last spans could not be exported in %g s", FAREWELL_SECONDS)

    def _shut_down(self) -> None:
        try:
            self._provider.shutdown()
        except Exception as error:
            logger.warning("the exporter of traces could not be closed: %s", error)


def _resource() -> Resource:
    """Return who exports: as the environment says, else by the name of the program."""
    said = Resource.create()
    unknown = str(said.attributes["service.name"]).startswith("unknown_service")
    return said.merge(Resource({"service.name": LIBRARY})) if unknown else said


def _exporter(name: str) -> SpanExporter:
    """Return an exporter by its name, which is an entry point: `otlp`, `console`, …

    :raises LookupError: if nothing of this name is installed
    """
    for found in entry_points(group="opentelemetry_traces_exporter", name=ALIASES.get(name, name)):
        exporter: SpanExporter = found.load()()
        return exporter
    raise LookupError(f"no exporter {name} is installed; install allocation[otel]")
