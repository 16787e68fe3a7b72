"""The requests of the page about rooms do what it says."""

import os
import re
import shutil
import subprocess

import pytest

from tests.consoles import shows
from tests.e2e.processes import ROOT, Application, owed, wait_until
from tests.e2e.web.serving import serving

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")

SHOWN = "http://127.0.0.1:8000"


def test_a_user_registers_twice_with_curl_and_the_operator_sees_the_trace(
    application: Application,
) -> None:
    """Whoever follows the page sees what it shows; the second time the first result."""
    blocks = "".join(re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "rooms.md").read_text(), re.S))
    start, *steps = re.findall(r"^\$ (.*)\n(.*)$", blocks.replace("\\\n", ""), re.M)
    printed = []
    with serving(application, token="") as server:
        assert start[0] == "allocation serve"
        assert shows(server.told.replace(server.url, SHOWN), (start[1],))
        environment = {**os.environ, "TOKEN": server.token}
        for command, shown in steps:
            command = command.replace(SHOWN, server.url)
            ended = subprocess.run(command, shell=True, env=environment, capture_output=True)
            printed.append(ended.stdout.decode())
            assert shows(printed[-1], (shown,)), (command, printed[-1])
            wait_until(lambda: owed(application) == [])

    assert printed[0] == printed[1]
