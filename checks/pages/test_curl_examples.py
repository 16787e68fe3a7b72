"""The requests of the page about extensions do what it says."""

import os
import re
import shutil
import subprocess

import pytest
from aftercommit_tests.extensions.web.processes.serving import serving
from aftercommit_tests.processes import owed, wait_until

from checks.console_blocks import commands, shows
from checks.processes import Application
from tools.repository import ROOT

pytestmark = [
    pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl"),
    pytest.mark.check,
]

SHOWN = "http://127.0.0.1:8000"


@pytest.fixture
def backend() -> str:
    """HTTP is served on asyncio only."""
    return "asyncio"


def test_a_user_registers_twice_with_curl_and_the_operator_sees_the_trace(
    application: Application,
) -> None:
    """Anyone who follows the page sees what it shows; the second time the first result."""
    page = (ROOT / "docs" / "extensions" / "http.md").read_text()
    start, *steps = commands("".join(re.findall(r"```sh\n(\$ .*?)```", page, re.DOTALL)))
    printed = []
    with serving(application, token="") as server:
        assert start.line == "allocation serve"
        assert shows(server.told.replace(server.url, SHOWN), start.shown)
        environment = {**os.environ, "TOKEN": server.token}
        for step in steps:
            command = step.line.replace(SHOWN, server.url)
            ended = subprocess.run(command, shell=True, env=environment, capture_output=True)
            printed.append(ended.stdout.decode())
            assert shows(printed[-1], step.shown), (command, printed[-1])
            wait_until(lambda: owed(application) == [])

    assert printed[0] == printed[1]
