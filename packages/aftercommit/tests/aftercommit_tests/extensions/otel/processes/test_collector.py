"""Processes that export to a collector, and to one that is not there."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from aftercommit_tests.builders import a_message
from aftercommit_tests.processes import TIMEOUT_SECONDS, Installation, owed, wait_until

pytestmark = pytest.mark.check

if TYPE_CHECKING:
    from aftercommit_tests.extensions.brokers.outside import Outside

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
INSTRUMENT = str(Path(sys.executable).parent / "opentelemetry-instrument")


class Collector(ThreadingHTTPServer):
    """A collector that keeps what it gets."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiving)
        self.requests: list[ExportTraceServiceRequest] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def spans(self) -> list[Span]:
        """Return all spans that came."""
        resources = chain.from_iterable(request.resource_spans for request in self.requests)
        scopes = chain.from_iterable(resource.scope_spans for resource in resources)
        return [span for scope in scopes for span in scope.spans]


class Receiving(BaseHTTPRequestHandler):
    """One request to the collector."""

    server: Collector

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as collector:
        thread = Thread(target=collector.serve_forever, daemon=True)
        thread.start()
        yield collector
        collector.shutdown()
        thread.join()


PATIENT = """
from aftercommit.extensions.otel import spans
from aftercommit_tests.things.app import cli

spans.FAREWELL_SECONDS = 180  # a busy machine may need more than two to export the last ones
cli()
"""


def start(
    installation: Installation,
    *arguments: str,
    endpoint: str,
    program: Sequence[str] = ("-c", PATIENT),
    **settings: str,
) -> subprocess.Popen[str]:
    """Start one command with traces, as the page on extensions says."""
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
    return subprocess.Popen(
        [INSTRUMENT, sys.executable, *program, *arguments],
        cwd=installation.folder,
        env=installation.environment(**settings) | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(installation: Installation, *arguments: str, **options: Any) -> tuple[str, str]:
    """Run one command that has to succeed, with an exporter; return what it printed and logged."""
    settings = {"dispatch": "worker", "log_level": "warning"}
    process = start(installation, *arguments, **options, **settings)
    out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0, err
    return out, err


@pytest.mark.on("trio")
def test_two_processes_export_one_trace(installation: Installation) -> None:
    """The first ends before the second begins. It goes down to the call of the bell."""
    with collecting() as collector:
        run(installation, "make-thing", "lamp", endpoint=collector.url)
        run(installation, "worker", "--until-idle", endpoint=collector.url)

        spans = {span.name: span for span in collector.spans()}

    command, attempt = spans["process make_thing"], spans["announce thing_made"]
    [ringing] = [each for each in collector.spans() if each.parent_span_id == attempt.span_id]
    assert {span.trace_id for span in spans.values()} == {command.trace_id}
    of_event = [span for name, span in spans.items() if name.endswith(" thing_made")]
    assert len(of_event) == 4  # to announce, look_at, polish and write_down
    assert {span.parent_span_id for span in of_event} == {command.span_id}
    praise, polish = spans["praise thing_polished"], spans["polish thing_made"]
    assert praise.parent_span_id == polish.span_id
    assert (ringing.name, ringing.kind) == ("bell.ring", Span.SPAN_KIND_CLIENT)


@pytest.mark.parametrize("backend", ["asyncio"])
def test_from_a_message_of_a_broker_to_one_for_others_it_is_one_trace(
    installation: Installation, rabbitmq: "Outside"
) -> None:
    """The sender's trace goes on here, and with those who are told."""
    message = json.loads(a_message()) | {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    rabbitmq.send(json.dumps(message).encode())
    installation.run("db", "upgrade")
    with collecting() as collector:
        process = start(installation, "run", endpoint=collector.url, broker_urls=rabbitmq.url)
        (published,) = rabbitmq.events(bool)
        wait_until(lambda: not owed(installation))
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=TIMEOUT_SECONDS)
        assert process.returncode == 0, err

        spans = {span.name: span for span in collector.spans()}

    command = spans["process make_thing"]
    attempt = spans["publish_event_to_rabbitmq thing_made"]
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    assert command.parent_span_id.hex() == SPAN
    assert attempt.parent_span_id == command.span_id
    (publishing,) = (span for span in collector.spans() if span.parent_span_id == attempt.span_id)
    assert (publishing.name, publishing.kind) == ("rabbitmq.publish", Span.SPAN_KIND_PRODUCER)
    carried = json.loads(published.body)["traceparent"]
    assert carried == f"00-{TRACE}-{command.span_id.hex()}-01"


@pytest.mark.on("trio")
@pytest.mark.parametrize("listens", [True, False])
def test_a_collector_that_is_away_holds_nobody_up(
    installation: Installation, listens: bool
) -> None:
    """Whether it does not answer, or is not there."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        if not listens:
            silent.close()

        options = {"program": ("-m", installation.module), "endpoint": f"http://127.0.0.1:{port}"}
        out, err = run(installation, "make-thing", "lamp", **options)

    assert "made lamp" in out
    assert "the last spans could not be exported in 2 s" in err
    assert installation.rows("SELECT name FROM things") == [("lamp",)]
