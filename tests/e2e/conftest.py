"""Fixtures of real processes, and the table of the crash matrix at the end of the run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller

from tests.e2e.processes import Application, MailServer

CELL = "crash matrix cell"


@pytest.fixture
def mail(free_tcp_port: int) -> Iterator[MailServer]:
    """A real mail server on a free port."""
    server = MailServer()
    controller = Controller(server, hostname="127.0.0.1", port=free_tcp_port)
    controller.start()
    server.url = f"smtp://127.0.0.1:{free_tcp_port}"
    yield server
    controller.stop()


@pytest.fixture
def application(tmp_path: Path, mail: MailServer, backend: str) -> Application:
    """The application, with a mail server."""
    return Application(tmp_path, mail, backend=backend)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the crash matrix, so that it can be read."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    properties = [entry for report in reports for entry in getattr(report, "user_properties", ())]
    cells = {value for name, value in properties if name == CELL}
    if cells:
        terminalreporter.section("crash matrix: killed there, then a worker ran")
        for cell in sorted(cells):
            terminalreporter.line(cell)
