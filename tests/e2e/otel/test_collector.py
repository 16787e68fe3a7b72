"""Processes that export to a collector, and to one that is not there."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from threading import Thread

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.e2e.processes import TIMEOUT_SECONDS, Application

REGISTER = ("register-user", "Иван", "ivan@example.com")


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


def run(application: Application, *arguments: str, endpoint: str) -> str:
    """Run one command that has to succeed, with an exporter; return what it printed."""
    environment = application.environment(dispatch="worker")
    process = application.start(
        *arguments, environment={**environment, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    )
    out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0, err
    return out


def test_two_processes_export_one_trace(application: Application) -> None:
    """The first ends before the second begins."""
    with collecting() as collector:
        run(application, *REGISTER, endpoint=collector.url)
        run(application, "worker", "--until-idle", endpoint=collector.url)

        spans = {span.name: span for span in collector.spans()}

    command = spans["process register_user"]
    email = spans["send_welcome_email user_registered"]
    assert len(spans) == 5
    assert {span.trace_id for span in spans.values()} == {command.trace_id}
    assert email.parent_span_id == command.span_id


@pytest.mark.parametrize("listens", [True, False])
def test_a_collector_that_is_away_holds_nobody_up(application: Application, listens: bool) -> None:
    """Whether it says nothing, or is not there."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        if not listens:
            silent.close()

        out = run(application, *REGISTER, endpoint=f"http://127.0.0.1:{port}")

    assert "registered Иван" in out
    assert application.rows("SELECT count(*) FROM users") == [(1,)]
